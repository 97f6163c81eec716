"""Which tokens end a response."""

from stage1_teacher.engine import EngineSettings
from stage1_teacher.teacher import read_config
from stage1_teacher.teacher_folder import locate_teacher


def end_ids(settings: EngineSettings) -> list[int]:
    """The end-of-sequence tokens of the teacher's generation settings, as transformers has them."""
    from transformers import GenerationConfig

    folder = locate_teacher(settings.model, settings.revision)
    if (folder / "generation_config.json").is_file():
        found = GenerationConfig.from_pretrained(folder).eos_token_id
    else:
        config = read_config(folder, settings.trust_remote_code)
        found = GenerationConfig.from_model_config(config).eos_token_id
    return [] if found is None else [found] if isinstance(found, int) else list(found)
