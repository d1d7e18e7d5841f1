import type { ArrayOps } from './arrays.ts';
import type { AttentionOps } from './attention.ts';
import type { CollectiveOps } from './collectives.ts';
import type { FeedForwardOps } from './feed-forward.ts';
import type { BackendLifeCycle } from './life-cycle.ts';
import type { LinearOps } from './linear.ts';
import type { NormOps } from './norms.ts';
import type { RowOps } from './rows.ts';
import type { SamplingOps } from './sampling.ts';
import type { SlotOps } from './slots.ts';
import type { ReplayOps, StateSpaceOps } from './state-space.ts';
import type { StepOps } from './steps.ts';

/**
 * A place where arrays live and operations run. The files of this folder are the contract, a chapter each, with the
 * checks of arguments that every backend makes; the `reference` backend is its executable form, and every other backend
 * is tested against it.
 *
 * For all operations:
 * - Activations are float32, state and accumulation too. Letters: T rows (tokens), C columns (channels).
 * - Calling an operation enqueues it. Results are read with {@link Backend.read}.
 * - An operation throws ShapeError, ArgumentError or MetadataError (slots, row starts) at the call when its arguments
 *   break the contract.
 * - Where `out` can be passed, the result is written there (it may be a view) and returned; it never aliases an input
 *   unless the operation says so.
 * - T = 0 is legal everywhere and does nothing.
 */
export interface Backend
  extends BackendLifeCycle,
    StepOps,
    ArrayOps,
    SlotOps,
    LinearOps,
    RowOps,
    NormOps,
    StateSpaceOps,
    AttentionOps,
    FeedForwardOps,
    CollectiveOps {
  readonly name: string;

  /** Absent where logits are on the host anyway. */
  readonly sampling?: SamplingOps;

  /** Absent where nothing is gained by writing states less often. */
  readonly replay?: ReplayOps;
}
