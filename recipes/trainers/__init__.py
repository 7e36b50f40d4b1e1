"""TRL's trainers, extended (`grpo`, `rloo`, `ppo`), and what is replaced in TRL while they train (`patches`: how,
`trl_patches`: what)."""
