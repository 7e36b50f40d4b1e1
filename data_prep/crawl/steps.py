"""Which pages are left out as spam or of low quality: FineWeb's filters in their order, with the thresholds of the
arguments (`data_prep/web.yaml`)."""

from collections.abc import Callable
from pathlib import Path

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers import JsonlWriter

from data_prep.crawl.arguments import WebArguments
from data_prep.crawl.filters import (
    LANGUAGE_MODEL,
    Count,
    EnglishWords,
    Extraction,
    OfflineLanguageFilter,
    OfflineURLFilter,
    RepetitionFilter,
    stop_words,
)


def page_steps(args: WebArguments, removed: Path) -> dict[str, PipelineStep]:
    """The steps that look at one page at a time, in FineWeb's order; `removed`: the folder of what they take."""

    def rejects(step: str) -> JsonlWriter:
        return JsonlWriter(str(removed / step))

    readable = {
        "url": OfflineURLFilter(args.soft_word_threshold, rejects("url")),
        "extraction": Extraction(
            args.extraction_fallback_below,
            args.prune_xpath,
            args.deduplicate_segments,
            args.extraction_timeout,
            rejects("extraction"),
        ),
        "language": OfflineLanguageFilter(
            args.languages, args.language_threshold, args.language_model or LANGUAGE_MODEL, rejects("language")
        ),
    }
    return readable | quality_steps(args, rejects)


def quality_steps(args: WebArguments, rejects: Callable[[str], JsonlWriter]) -> dict[str, PipelineStep]:
    """The filters of text by its words and lines, which cut a document into words once."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter

    words = EnglishWords()
    return {
        "repetition": RepetitionFilter(
            dup_line_frac=args.dup_line_frac,
            dup_para_frac=args.dup_para_frac,
            dup_line_char_frac=args.dup_line_char_frac,
            dup_para_char_frac=args.dup_para_char_frac,
            top_n_grams=list(enumerate(args.top_n_gram_char_frac, 2)),
            dup_n_grams=list(enumerate(args.dup_n_gram_char_frac, 5)),
            exclusion_writer=rejects("repetition"),
            language=words,
        ),
        "quality": GopherQualityFilter(
            min_doc_words=args.min_doc_words,
            max_doc_words=args.max_doc_words,
            min_avg_word_length=args.min_avg_word_length,
            max_avg_word_length=args.max_avg_word_length,
            max_symbol_word_ratio=args.max_symbol_word_ratio,
            max_bullet_lines_ratio=args.max_bullet_lines_ratio,
            max_ellipsis_lines_ratio=args.max_ellipsis_lines_ratio,
            max_non_alpha_words_ratio=args.min_alpha_words_ratio,  # datatrove's name says the contrary of what it is
            min_stop_words=args.min_stop_words,
            stop_words=stop_words(args.languages),
            exclusion_writer=rejects("quality"),
            language=words,
        ),
        "c4": C4QualityFilter(
            filter_no_terminal_punct=args.filter_no_terminal_punct,
            min_num_sentences=args.min_num_sentences,
            min_words_per_line=args.min_words_per_line,
            max_word_length=args.max_word_length,
            exclusion_writer=rejects("c4"),
            language=words,
        ),
        "fineweb": FineWebQualityFilter(
            stop_chars=tuple(args.stop_chars),
            line_punct_thr=args.line_punct_thr,
            short_line_thr=args.short_line_thr,
            short_line_length=args.short_line_length,
            char_duplicates_ratio=args.char_duplicates_ratio,
            new_line_ratio=args.new_line_ratio,
            exclusion_writer=rejects("fineweb"),
            language=words,
        ),
    }


def counted(step: str, args: WebArguments) -> list[PipelineStep]:
    """Count what the step has left; tokens are counted anew where the step changes the text."""
    from datatrove.pipeline.tokens import TokensCounter

    tokens = (
        [TokensCounter(args.count_tokenizer, batch_size=1000)]
        if args.count_tokenizer and step in ("extraction", "c4", "pii")
        else []
    )
    return [*tokens, Count(step, text=step not in ("warc", "url"))]
