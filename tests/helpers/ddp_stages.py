"""What test_ddp.py launches: runs stages one after the other in the processes that `accelerate launch` has started.

    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml tests/helpers/ddp_stages.py stages.json

`stages.json` holds [[module, argv], ...]. The group of processes lives on from stage to stage, so the libraries are
imported once.
"""

import importlib
import json
import sys
from pathlib import Path

for module, argv in json.loads(Path(sys.argv[1]).read_text()):
    importlib.import_module(module).main(argv)
    import torch.distributed as dist

    assert dist.is_initialized() and dist.get_world_size() == 2 and dist.get_backend() == "gloo", module
    dist.barrier()
    print(f"rank {dist.get_rank()}: {module} done", flush=True)
dist.destroy_process_group()
