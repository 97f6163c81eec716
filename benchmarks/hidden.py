"""What hidden states cost: bytes, error and time per codec, and a dump with them and without.

Per codec and layer of a real teacher in fp32 over real text: bytes per element of a whole shard,
and the relative error of a state (mean over tokens of ‖decoded − state‖/‖state‖), beside how far
the same teacher run in bf16 is from itself in fp32 (`run in bf16`). Then thousands of tokens
encoded and decoded per second and core, one layer, Parquet included. Last the share of a dump with
one layer: CPU time without / CPU time with, engine and writing together, interleaved, the median
of the repeats (aim 0.92). Run as

    python -m benchmarks.hidden --teacher FOLDER --corpus FILE.jsonl
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.capture import read_samples
from benchmarks.machine import write_result
from schemas.codec_hidden import HIDDEN_CODECS
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.hidden_layers import LAST
from schemas.hidden_states import layer_states
from schemas.manifest import Capture
from schemas.shards import write_shard
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.hidden_tables import hidden_recipe, hidden_table
from stage1_teacher.layer_states import decoder_layers
from stage1_teacher.samples import Ragged, Sample, Signals
from stage1_teacher.shard_tables import Row, shard_table
from stage1_teacher.shard_writer import row_groups
from stage1_teacher.teacher_model import load_teacher

Floats = npt.NDArray[np.float32]
AIM = 0.92


def main() -> None:
    """Prints three tables and writes results/hidden.json."""
    options = _options()
    torch.set_num_threads(1)
    samples = read_samples(options)
    tokens = sum(len(sample.input_ids) for sample in samples)
    layers = options.layers.split(",")
    print(f"{tokens} tokens in {len(samples)} sequences")
    exact, rough = (_states(options, dtype, samples, layers) for dtype in ("float32", "bfloat16"))
    error = {layer: _error(exact[layer], rough[layer]) for layer in layers}
    results: dict[str, Any] = {
        "settings": {
            **vars(options),
            "teacher": options.teacher.name,
            "corpus": options.corpus.name,
        },
        "run_in_bf16_error": error,
        "codecs": {
            codec: _codec(codec, exact, samples, options.repeats) for codec in HIDDEN_CODECS
        },
    }
    _print_codecs(results["codecs"], error)
    results["dump"] = {dtype: _dump(options, dtype, samples) for dtype in options.dtypes.split(",")}
    for dtype, found in results["dump"].items():
        print(
            f"dump with {found['layer']} in {found['codec']}, {dtype}: {found['share']} of the "
            f"speed without (aim {AIM})"
        )
    print("written:", write_result("hidden", results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, type=Path, help="a model folder")
    parser.add_argument("--corpus", required=True, type=Path, help="JSON lines of text")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--layers", default="0,1,10,15,20,30,last")
    parser.add_argument("--dump-tokens", type=int, default=4096)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


@torch.inference_mode()
def _states(
    options: argparse.Namespace, dtype: str, samples: Sequence[Sample], layers: Sequence[str]
) -> dict[str, Floats]:
    """Per layer [N, D] in float32, which the engine does not give: it rounds to bfloat16."""
    model = load_teacher(EngineSettings(model=options.teacher, dtype=dtype, device="cpu")).model
    before_norm: list[torch.Tensor] = []
    decoder_layers(model)[-1].register_forward_hook(
        lambda _, __, out: before_norm.append(out[0] if isinstance(out, tuple) else out)
    )
    parts: dict[str, list[Floats]] = {layer: [] for layer in layers}
    for sample in samples:
        ids = torch.from_numpy(sample.input_ids.astype(np.int64))[None]
        states = model.base_model(ids, use_cache=False, output_hidden_states=True).hidden_states
        count = len(states) - 1
        named = {**{str(n): states[n] for n in range(count)}, LAST: states[-1]}
        named[str(count)] = before_norm.pop()
        for layer in layers:
            parts[layer].append(named[layer].flatten(0, -2).float().numpy())
    return {layer: np.concatenate(found) for layer, found in parts.items()}


def _codec(
    codec: str, states: dict[str, Floats], samples: Sequence[Sample], repeats: int
) -> dict[str, Any]:
    layers = {
        layer: _layer(codec, _rows(samples, layer, exact), exact, repeats)
        for layer, exact in states.items()
    }
    speeds = {
        way: round(statistics.median(found.pop(way) for found in layers.values()), 1)
        for way in ("encoded_ktokens_per_second", "decoded_ktokens_per_second")
    }
    return {"width": next(iter(states.values())).shape[1], **speeds, "layers": layers}


def _layer(codec: str, rows: list[Row], exact: Floats, repeats: int) -> dict[str, float]:
    (layer,) = rows[0][1].hidden
    capture = Capture(hidden_layers=[layer], hidden_codec=codec, hidden_width=exact.shape[1])
    writing, data = _timed(lambda: _written(rows, capture), repeats)
    reading, found = _timed(lambda: _read(data, layer, capture), repeats)
    return {
        "error": _error(exact, found),
        "bytes_per_element": round(len(data) / exact.size, 4),
        "encoded_ktokens_per_second": len(exact) / writing / 1e3,
        "decoded_ktokens_per_second": len(exact) / reading / 1e3,
    }


def _rows(samples: Sequence[Sample], layer: str, states: Floats) -> list[Row]:
    """The states as an engine gives them, bfloat16 bits, with no signals beside them."""
    bits = torch.from_numpy(states).bfloat16().view(torch.int16).numpy().view(np.uint16)
    ends = np.cumsum([len(sample.input_ids) for sample in samples])
    empty = np.zeros(0, np.float32)
    none = Ragged(offsets=np.zeros(1, np.int64), ids=np.zeros(0, np.int32), logits=empty)
    return [
        (
            sample,
            Signals(
                topk=none,
                tail=none,
                tail_logmass=empty,
                max_logit=empty,
                token_logprobs=empty,
                hidden={layer: part},
            ),
        )
        for sample, part in zip(samples, np.split(bits, ends[:-1]), strict=True)
    ]


def _written(rows: list[Row], capture: Capture) -> bytes:
    recipe = hidden_recipe(capture)
    if recipe is None:
        return b""
    sink = io.BytesIO()
    tables = (hidden_table(group, recipe) for group in row_groups(iter(rows)))
    write_shard(sink, tables, recipe.columns, {})
    return sink.getvalue()


def _read(data: bytes, layer: str, capture: Capture) -> Floats:
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    groups = (file.read_row_group(group) for group in range(file.num_row_groups))
    return np.concatenate([layer_states(group, layer, capture).values for group in groups])


def _error(exact: Floats, found: Floats) -> float:
    lost = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return round(float(lost.mean()), 5)


def _timed(do: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """CPU seconds of the fastest repeat, and what it gave."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = do()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def _dump(options: argparse.Namespace, dtype: str, samples: list[Sample]) -> dict[str, Any]:
    """The share of the speed that is left with one layer, engine and writing together."""
    few = samples[: max(1, options.dump_tokens // options.length)]
    settings = EngineSettings(
        model=options.teacher, dtype=dtype, device="cpu", batch_tokens=2 * options.length
    )
    width = load_teacher(settings).model.config.get_text_config().hidden_size
    hidden = Capture(hidden_layers=["15"], hidden_codec="int8", hidden_width=width)
    arms = [(TransformersEngine(settings), capture) for capture in (Capture(), hidden)]
    for engine, capture in arms:  # loads, proves, fills the buffers
        _dumped(engine, capture, few[:1])
    shares = []
    for _ in range(options.repeats):
        spent = [_timed(partial(_dumped, *arm, few), 1)[0] for arm in arms]
        shares.append(spent[0] / spent[1])
    share = round(statistics.median(shares), 3)
    return {"layer": "15", "codec": "int8", "share": share, "aim": AIM, "shares": shares}


def _dumped(engine: TransformersEngine, capture: Capture, samples: list[Sample]) -> int:
    found = dict(engine.capture(samples, capture, 0))
    rows = [(sample, found[index]) for index, sample in enumerate(samples)]
    columns = shard_columns(capture.temperatures)
    sink = io.BytesIO()
    write_shard(sink, _tables(rows, capture), columns, {})
    return sink.tell() + len(_written(rows, capture))


def _tables(rows: list[Row], capture: Capture) -> Iterator[pa.Table]:
    columns = shard_columns(capture.temperatures)
    for group in row_groups(iter(rows)):
        yield shard_table(group, columns, capture, CODECS["gap5"])


def _print_codecs(codecs: dict[str, Any], error: dict[str, float]) -> None:
    print(
        f"{'layer':<8}"
        + "".join(f"{c + ' B/element':>18}{c + ' error':>14}" for c in codecs)
        + f"{'run in bf16':>14}"
    )
    for layer, off in error.items():
        cells = (codecs[codec]["layers"][layer] for codec in codecs)
        row = "".join(f"{c['bytes_per_element']:>18.3f}{c['error']:>14.4f}" for c in cells)
        print(f"{layer:<8}{row}{off:>14.4f}")
    for codec, found in codecs.items():
        print(
            f"{codec}, {found['width']} wide, per core and layer: encoded "
            f"{found['encoded_ktokens_per_second']} ktok/s, decoded "
            f"{found['decoded_ktokens_per_second']} ktok/s"
        )


if __name__ == "__main__":
    main()
