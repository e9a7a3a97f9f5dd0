"""A seeded simulation of the world around the operator, which itself is the production code, wired as in its process.

Where things are:

- `virtual_time`, `processes`: an event loop whose clock jumps to the next timer; processes in it that can be killed
  between any two steps, or frozen.
- `api_server`, `calls`, `connection`, `watches`: Kubernetes' API as the operator sees it, and what networks do to it.
- `job_controller`, `nodes`, `kubelet`, `runner`, `garbage_collector`: what else acts in a cluster.
- `postgres`: the records and the quota ledger, with an answer that may be lost.
- `tenants`: organizations, the limits of their plans, and whether a refusal for one was right.
- `users`, `chaos`, `faults`, `dials`: what people do, what breaks, and how often; all drawn from the seed.
- `truth`, `oracle`, `causes`, `ending`: what has happened in the world, and what must therefore be so.
- `base`, `world`, `simulation`: all of it together; one seed's run and its verdict.

Much of it serves the simulation of schedules (`sim_schedules`), too.

No wall clock, no thread, no socket, and no random number that isn't the seed's: a seed replays exactly.
"""
