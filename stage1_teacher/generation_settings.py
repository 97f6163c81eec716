"""What a user can say about responses that the teacher shall write: a part of `DumpSettings`."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from schemas.errors import ConfigError
from schemas.manifest import Generation
from stage1_teacher.reasoning_templates import ReasoningTemplate, open_template

DEFAULT_NEW_TOKENS = 512
_TAKES_ARGUMENT = ("parser", "verifier")


class GenerationSettings(BaseModel):
    """Whether and how the teacher answers the corpus's prompts itself."""

    generate: bool = Field(
        False,
        description="Let the teacher write the responses: the corpus gives prompts, or "
        "conversations whose last answer is written anew.",
    )
    samples_per_prompt: int = Field(1, ge=1, description="Responses to each prompt.")
    sampling_temperature: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Temperature at which tokens are drawn; 0 takes the most probable one. What is "
        "stored is not changed by it.",
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Draw from the most probable tokens that together have this probability.",
    )
    stop: list[str] = Field(
        [],
        description="Text that ends a response, besides the teacher's end token. May be given "
        "several times; commas and blanks are part of it.",
        json_schema_extra={"verbatim": True},
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="Most tokens of a response. Default: 512, at most half of --max-length.",
    )
    reasoning_template: str | None = Field(
        None,
        min_length=1,
        description="Asks for reasoning: answer_is, boxed, json or tags, each with the parser of "
        "the same name; or a jinja file with {{ prompt }} in it, few-shot examples included.",
    )
    parser: str | None = Field(
        None,
        min_length=1,
        description="Takes responses apart into rationale and answer: answer_is, boxed, json, "
        "last_number, regex or tags. Default: the reasoning template's.",
    )
    parser_argument: str | None = Field(
        None,
        min_length=1,
        description="For the parser: names of tags or keys, an expression, ….",
    )
    verifier: str | None = Field(
        None,
        min_length=1,
        description="Compares answers with gold answers: choice, exact, math, numeric, regex, one "
        "that a package brings, or package.module:function.",
    )
    verifier_argument: str | None = Field(
        None,
        min_length=1,
        description="For the verifier: a tolerance, the letters, ….",
    )
    gold_column: str | None = Field(
        None, min_length=1, description="Column with the gold answer. Default: `gold`."
    )
    keep: Literal["accepted", "all"] | None = Field(
        None,
        description="Keep what the verifier accepted (without one: where the parser found an "
        "answer), or all. Default: accepted where there is a verifier, else all.",
    )
    keep_truncated: bool = Field(
        False, description="Keep responses that --max-new-tokens cut; finish_reason tells them."
    )
    deduplicate: bool = Field(
        True, description="Drop a response that says what an earlier one to its prompt said."
    )

    similarity: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop also a response that shares this much (Jaccard similarity of 5-letter "
        "pieces) with an earlier one to its prompt, such as 0.8. Default: equal ones only.",
    )

    @model_validator(mode="after")
    def _generation_fits(self) -> Self:
        if not self.generate:
            self._check_nothing_asked()
        elif self.samples_per_prompt > 1 and self.sampling_temperature == 0:
            raise ConfigError(
                f"samples_per_prompt {self.samples_per_prompt} at sampling_temperature 0 would be "
                "the same response again and again. Raise the temperature, or ask for one."
            )
        for name in _TAKES_ARGUMENT:
            self._check_argument(name)
        if self.generate:
            self._check_judges()
        return self

    def _check_nothing_asked(self) -> None:
        fields = GenerationSettings.model_fields
        asked = [name for name in fields if getattr(self, name) != fields[name].default]
        if asked:
            raise ConfigError(
                f"{asked[0]} is about responses that the teacher writes, and it writes none. "
                "Give --generate, too, or leave it out."
            )

    def _check_argument(self, name: str) -> None:
        own = self.parser_name if name == "parser" else self.verifier
        if getattr(self, f"{name}_argument") is not None and own is None:
            raise ConfigError(
                f"{name}_argument is given, and there is no {name}. Give --{name}, too, or leave "
                "it out."
            )

    def _check_judges(self) -> None:
        """Imports parsers and verifiers only when one is asked for."""
        if self.similarity is not None and not self.deduplicate:
            raise ConfigError(
                f"similarity {self.similarity:g} says which responses are duplicates, and none are "
                "dropped. Leave out --no-deduplicate or --similarity."
            )
        if "" in self.stop:
            raise ConfigError("stop holds an empty text, which would end every response at once.")
        if self.verifier is not None and self.parser_name is None:
            raise ConfigError(
                f"the verifier {self.verifier} needs an answer, and there is no parser that finds "
                "one. Give --parser, or a --reasoning-template that has one."
            )
        if self.gold_column is not None and self.verifier is None:
            raise ConfigError(
                f"gold_column {self.gold_column} is given, and nothing compares with it. "
                "Give --verifier, too, or leave it out."
            )
        if self.keep == "accepted" and self.parser_name is None:
            raise ConfigError(
                "keep accepted needs something that accepts. Give --verifier or --parser, or "
                "--keep all."
            )

    @property
    def template(self) -> ReasoningTemplate | None:
        """The reasoning template, read.

        Raises:
            ConfigError: there is none of that name, or the file is wrong.
        """
        return None if self.reasoning_template is None else open_template(self.reasoning_template)

    @property
    def parser_name(self) -> str | None:
        """The parser given, or the template's."""
        return self.parser or (self.template.parser if self.template else None)

    def generation(self, longest: int, seed: int) -> Generation | None:
        """What the manifest says about responses; None when the corpus brings them.

        Args:
            longest: longest sequence in tokens, prompt and response together.
            seed: of the draws.

        Raises:
            ConfigError: the budget fills the sequence.
        """
        if not self.generate:
            return None
        budget = self.max_new_tokens or min(DEFAULT_NEW_TOKENS, longest // 2)
        if budget >= longest:
            raise ConfigError(
                f"max_new_tokens {budget} leaves no room for a prompt: prompt and response "
                f"together have at most {longest} tokens. Give fewer, or raise --max-length."
            )
        template = self.template
        return Generation(
            samples=self.samples_per_prompt,
            temperature=self.sampling_temperature,
            top_p=self.top_p,
            max_tokens=budget,
            seed=seed,
            stop=self.stop,
            template=template.name if template else None,
            template_sha256=template.sha256 if template else None,
            parser=self.parser_name,
            parser_argument=self.parser_argument,
            verifier=self.verifier,
            verifier_argument=self.verifier_argument,
            gold_column=(self.gold_column or "gold") if self.verifier else None,
            keep=self.keep or ("accepted" if self.verifier else "all"),
            keep_truncated=self.keep_truncated,
            deduplicate=self.deduplicate,
            similarity=self.similarity,
        )

    def generation_columns(self) -> list[str]:
        """The optional columns of generated rows, in file order."""
        if not self.generate:
            return []
        parsed = ["rationale", "answer"] if self.parser_name else []
        judged = ["gold", "verdict"] if self.verifier else []
        return ["prompt", "response", *parsed, *judged, "finish_reason", "provenance"]
