"""Which of the two ways of reading vLLM a dump takes."""

from stage1_teacher.engine import Engine, EngineSettings
from stage1_teacher.vllm_options import vllm_version
from stage1_teacher.vllm_start import check_startable, prepare_environment


def vllm_engine(settings: EngineSettings) -> Engine:
    """The engine of the mode that is wanted, or that this vLLM allows; loads no model.

    Raises:
        ConfigError: vLLM is missing or not as safe as it must be, or lacks what `--engine-mode
            capture` needs.
        ModelError: vLLM cannot run the teacher with these options.
    """
    vllm_version()
    prepare_environment()
    check_startable(settings)
    from stage1_teacher.vllm_guard import chosen_mode

    mode = chosen_mode(settings.mode)
    if mode.name == "compat":
        from stage1_teacher.vllm_compat import CompatEngine

        return CompatEngine(settings, mode.fallback_reason)
    from stage1_teacher.engine_vllm import VllmEngine

    return VllmEngine(settings)
