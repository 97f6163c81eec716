from pathlib import Path

import pytest

from schemas.dump_folder import open_dump
from schemas.errors import MismatchError
from stage2_student.licences import check_licenses, licence_line, stated_for
from stage2_student.preparation import checked_dumps
from stage2_student.student_source import Source
from tests.stage2_student.trainings import make_dump, make_training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("licences")
    make_dump(path / "dump")
    return path


def test_dumps_and_checkpoint_are_stated_each_once(folder: Path) -> None:
    dump = open_dump(folder / "dump")
    source = Source(folder=Path("x"), name="org/base", license=None)
    found = [(part.role, part.license) for part in stated_for([dump], source)]
    assert found == [
        ("teacher", "apache-2.0"),
        ("corpus", "apache-2.0"),
        ("base model", "unknown"),
    ]
    assert [part.role for part in stated_for([dump], None)] == ["teacher", "corpus"]


def test_a_forbidden_licence_is_refused_before_anything_is_loaded(folder: Path) -> None:
    checked_dumps(make_training(folder, forbid_license=["gpl*", "unknown"]))
    with pytest.raises(MismatchError) as error:
        checked_dumps(make_training(folder, forbid_license=["attribution"]))
    assert "teacher synthetic: apache-2.0" in str(error.value)


def test_a_forbidden_checkpoint_is_refused(folder: Path) -> None:
    source = Source(folder=Path("x"), name="org/base", license=None)
    stated = stated_for([open_dump(folder / "dump")], source)
    with pytest.raises(MismatchError, match="base model org/base: unknown"):
        check_licenses(stated, ["unknown"])


def test_the_line_says_what_holds_together(folder: Path) -> None:
    source = Source(folder=Path("x"), name="base", license="cc-by-sa-4.0")
    line = licence_line(stated_for([open_dump(folder / "dump")], source))
    assert "base model cc-by-sa-4.0, which ask for share-alike, attribution" in line
