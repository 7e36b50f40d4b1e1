"""datatrove's executor for our scripts."""

import contextlib

from datatrove.executor import LocalPipelineExecutor


class Executor(LocalPipelineExecutor):
    """datatrove's local executor, its log in files instead of on the screen."""

    @contextlib.contextmanager
    def _quiet(self):
        from datatrove.utils.logging import setup_default_logger

        with self.logging_dir.open("stderr.log", "at") as log, contextlib.redirect_stderr(log):
            setup_default_logger()
            yield
        setup_default_logger()

    def _launch_run_for_rank(self, *args, **kwargs):
        with self._quiet():
            return super()._launch_run_for_rank(*args, **kwargs)

    def run(self):
        import multiprocess

        # The server that the workers are forked from imports once what each would import anew for every stage.
        multiprocess.get_context(self.start_method).set_forkserver_preload(["datatrove.pipeline.filters", "spacy", "trafilatura"])
        with self._quiet():
            super().run()
