"""attnscope survey: the statistics of every head over a corpus."""

import click

from attnscope.cli.shared import load, quiet_option


@click.command()
@click.argument("corpus")
@click.option("--model", default="demo", show_default=True, help="demo, smollm2, a hub name, or a folder.")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="The folder to fill: new, or empty.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the survey in the folder.")
@click.option(
    "--tolerate", is_flag=True, help="Resume with other threads, torch or processor: equal within rounding only."
)
@click.option("--field", default="text", show_default=True, help="The column or key that holds the text.")
@click.option("--no-texts", is_flag=True, help="Write no word of the documents, for private data.")
@click.option(
    "--window", type=click.IntRange(8), help="Tokens that the model reads at once.  [default: what it can, to 2048]"
)
@click.option(
    "--statistic",
    "statistics",
    multiple=True,
    help="A statistic on request, such as induction_mul; may be given several times.",
)
@click.option("--shard", type=click.IntRange(1), default=2048, show_default=True, help="Documents of a shard, at most.")
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of torch in each worker.  [default: torch's; 1 with Ray]"
)
@click.option("--workers", type=click.IntRange(1), help="Workers of Ray.  [default: as many as there are cores]")
@click.option("--ray-address", help="A cluster of Ray, such as auto.  [default: a Ray of this process]")
@click.option("--gpus-per-worker", type=click.FloatRange(0), default=0, help="GPUs of each worker of Ray.")
@click.option(
    "--roles",
    type=click.Path(dir_okay=False),
    help="Roles of this model's heads, which the atlas shows: a file that attnscope roles --json wrote.",
)
@click.option(
    "--examples",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Example texts that get a page of their own, at most, about 1 MB each.",
)
@click.option(
    "--headvis",
    type=click.Path(file_okay=False),
    help="Write it as JSON too, into this folder, in files with the names of HeadVis. What HeadVis has in them is not known.",
)
@click.option("--task", help="Task to load the model for, such as text-generation.  [default: the checkpoint's own]")
@quiet_option
def survey(
    corpus: str,
    model: str,
    out: str,
    engine: str,
    resume: bool,
    tolerate: bool,
    field: str,
    no_texts: bool,
    window: int | None,
    statistics: tuple[str, ...],
    shard: int,
    threads: int | None,
    workers: int | None,
    ray_address: str | None,
    gpus_per_worker: float,
    roles: str | None,
    examples: int,
    headvis: str | None,
    task: str | None,
    quiet: bool,
) -> None:
    """Survey the heads of a model over CORPUS, into tables and pages in a folder.

    CORPUS is a file of text (a document a line), JSONL, CSV, Parquet or CoNLL-U, a folder of these, or a name of `datasets`.
    A survey that was ended in whatever way goes on with --resume, and comes to the same result.
    """
    loaded, tokenizer = load(model, quiet, task=task)
    import attnscope

    found = attnscope.survey(
        loaded,
        tokenizer,
        corpus,
        out,
        engine=engine,
        resume=resume,
        tolerate=tolerate,
        field=field,
        texts=not no_texts,
        window=window,
        statistics=statistics,
        shard=shard,
        threads=threads,
        workers=workers,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
        roles=None if roles is None else attnscope.RoleTable.load(roles),
        examples=examples,
        quiet=quiet,
    )
    if headvis is not None:
        click.echo(f"for HeadVis: {found.save_headvis(headvis)}", err=True)
    for note in found.notes:
        click.echo(note, err=True)
    if not quiet:
        click.echo(f"the atlas: {found.folder / 'index.html'}", err=True)
    click.echo(str(found.folder))
