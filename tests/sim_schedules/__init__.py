"""A seeded simulation of a month of schedules: the operator's production code for them, in virtual time.

Where things are:

- `clock`, `dials`: virtual time, the wall clock that operators read (which is set wrong, and right again), and how
  hostile a seed is. Every third seed is calm: nothing fails, though operators are stopped for seconds or days.
- `server`, `connection`, `watches`: Kubernetes' API as the operator sees it, and what networks do to it.
- `shell`, `operators`, `postgres`: the parts that `Operator` wires for schedules, in processes that are killed between
  any two steps, stopped, frozen, or run twice; what they ask PostgreSQL for.
- `actor`: plays the runs, as a run operator would take too long; `runs`: what a new process has to do about them.
- `users`, `chaos`: what people do and what breaks; drawn from the seed.
- `truth`, `timeline`: what has happened: every version of every schedule, every run, who was able to work when.
- `ticks`, `judge`, `oracle`, `verdict`: which tick had to have a run, which must not have one, and which may, by rules
  of their own; none of the code for schedules is in them.
- `world`, `simulation`: all of it together; one seed's run and its verdict.
"""
