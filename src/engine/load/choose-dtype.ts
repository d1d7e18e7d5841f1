import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import type { DTypeSetting, StorageSetting, WeightDType } from '../../tensor/dtype.ts';
import { weightBytes } from '../../tensor/quantize.ts';
import { machineMemory } from '../../util/machine-memory.ts';
import { type ChosenDevice, keptFormats } from '../ranks/devices.ts';
import { checkpointDType } from '../ranks/load-rank.ts';
import { storedFormats } from '../weights/stored-formats.ts';

/** Setting of the dtype that a model is loaded with. */
export interface DTypeDecision {
  readonly dtype: StorageSetting;
  /** Why, in a sentence. */
  readonly reason: string;
}

/** What `auto` goes by. */
export interface DTypeFacts {
  readonly device: ChosenDevice;
  /** Ranks that share the weights. */
  readonly ranks: number;
  /** Shapes of all weights. */
  readonly shapes: Iterable<readonly number[]>;
  /** Dtype in which the device keeps weights as they are stored. */
  readonly stored: WeightDType;
  /** Whether the device keeps matrices in blocks of the files. */
  readonly areBlocksKept: boolean;
}

/** Bytes of weights that a memory of 20 GB/s reads 200 times a second. */
const SMALL = 100e6;
/** Inputs from which a weight counts as a matrix: the taps of a convolution are fewer. */
const MATRIX_INPUTS = 32;
/** Bytes of weights that fit a rank's memory, of 4 GiB, with states. */
const RANK_LIMIT = 3.5 * 2 ** 30;
/** Share of the machine's memory that weights may take. */
const MEMORY_SHARE = 0.7;

/**
 * Decides on the dtype of a model for `auto`; any other setting stays as it is. docs/performance.md argues for the rule.
 * @param memory bytes that the process may use.
 */
export function chooseDType(asked: DTypeSetting, facts: DTypeFacts, memory = machineMemory()): DTypeDecision {
  if (asked !== 'auto') return { dtype: asked, reason: 'It was asked for.' };
  const { device, ranks, stored, areBlocksKept } = facts;
  if (areBlocksKept) return { dtype: 'stored', reason: 'The files hold quantised weights, which stay as they are.' };
  if (device !== 'cpu') return { dtype: 'stored', reason: `'${device}' computes with weights as they are stored.` };
  const shapes = [...facts.shapes];
  const storedBytes = bytesAs(stored, shapes);
  if (storedBytes <= SMALL) {
    return { dtype: 'stored', reason: `Weights of ${megabytes(storedBytes)} are read quickly as they are stored.` };
  }
  const int8 = bytesAs('int8', shapes);
  const room = Math.min(ranks * RANK_LIMIT, MEMORY_SHARE * memory);
  if (int8 <= room) {
    const speed = stored === 'bfloat16' ? 'about twice' : 'two to four times';
    return {
      dtype: 'int8',
      reason: `${megabytes(int8)} instead of ${megabytes(storedBytes)} as ${stored}: ${speed} the speed, for a loss of about 0.2 %.`,
    };
  }
  const int4 = bytesAs('int4', shapes);
  return {
    dtype: 'int4',
    reason: `${megabytes(int4)}; int8 would take ${megabytes(int8)}, more than ${megabytes(room)} for weights here.`,
  };
}

/** What `auto` goes by, of a checkpoint. */
export function dtypeFacts(
  checkpoint: Checkpoint,
  definition: ModelDefinition,
  device: ChosenDevice,
  ranks: number,
): DTypeFacts {
  const names = checkpoint.names().filter((name) => definition.parameterName(name) !== undefined);
  return {
    device,
    ranks,
    shapes: names.map((name) => checkpoint.info(name).shape),
    stored: checkpointDType(checkpoint),
    areBlocksKept: storedFormats(checkpoint, definition, keptFormats(device)).size > 0,
  };
}

function bytesAs(dtype: WeightDType, shapes: readonly (readonly number[])[]): number {
  return shapes.reduce((sum, shape) => {
    const columns = shape.at(-1) ?? 1;
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    return sum + weightBytes(rows, columns, shape.length > 1 && columns >= MATRIX_INPUTS ? dtype : 'float32');
  }, 0);
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
