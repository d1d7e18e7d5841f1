import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { StoredBlocks, StoredTensor } from '../../checkpoint/files/stored-tensor.ts';
import type { ProgressCallback } from '../../checkpoint/net/progress.ts';
import { isUrl } from '../../checkpoint/net/urls.ts';
import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { MissingTensorError, NonFiniteWeightError, UnexpectedTensorError, WeightShapeError } from '../../errors.ts';
import { ParameterTable } from '../../layers/parameters/parameter.ts';
import { rowSize } from '../../layers/parameters/weight-loaders.ts';
import type { CausalLM, ModelDefinition } from '../../models/causal-lm.ts';
import { BLOCK_FORMATS, type BlockFormat, nonFiniteBlock } from '../../tensor/block-formats.ts';
import { formatShape } from '../../tensor/tensor.ts';
import { type Read, ReadAhead } from './read-ahead.ts';

export interface LoadWeightsOptions {
  /** Name of the model in progress events. */
  readonly name: string;
  /** Refuse NaN and infinities. */
  readonly checkFinite: boolean;
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Float32 values that are in memory at a time: 1 MB, in which the fixed costs of a read do not show. */
export const BLOCK_VALUES = 2 ** 18;

/** Bytes of stored blocks that are in memory at a time. */
const BLOCK_BYTES = 2 ** 20;

/**
 * Values, and words of stored bytes, that memory is kept for: an expert's matrix is a row, and larger than a block. The system
 * gives memory when it is written to, so that small models take less.
 */
const SCRATCH_VALUES = 2 ** 21;

/** Reads of a local file that run while a block is put into its place. */
const READS_AHEAD = 2;

/**
 * Fills a model from a checkpoint, block of rows by block of rows, and reads only rows that this rank holds something
 * of.
 * @param pairs of {@link matchNames}.
 */
export async function loadWeights(
  model: CausalLM,
  pairs: readonly (readonly [parameterName: string, checkpointName: string])[],
  checkpoint: Checkpoint,
  options: LoadWeightsOptions,
): Promise<void> {
  const { name, checkFinite, onProgress, signal } = options;
  const table = new ParameterTable(model);
  const total = pairs.reduce((sum, [parameterName]) => sum + table.valuesToRead(parameterName), 0);
  // Ranks that share a server's answers get one after the other.
  const ahead = new ReadAhead(
    readsOf(table, pairs, checkpoint),
    isUrl(checkpoint.folder) ? 0 : READS_AHEAD,
    SCRATCH_VALUES,
  );
  let loaded = 0;
  const next = async () => {
    await yieldToEventLoop();
    signal?.throwIfAborted();
    return ahead.next();
  };
  for (const [parameterName, checkpointName] of pairs) {
    const tensor = checkpoint.tensor(checkpointName);
    const format = keptBlocks(table, parameterName, tensor)?.format;
    if (format !== undefined) {
      await table.streamBlocks(parameterName, BLOCK_BYTES, async (block) => {
        const bytes = await next();
        if (!(bytes instanceof Uint8Array)) throw new TypeError('Values came in place of blocks.');
        if (checkFinite) refuseNonFiniteBlocks(checkpointName, format, bytes, block.firstRow * rowSize(tensor.shape));
        loaded += block.rows * rowSize(tensor.shape);
        return bytes;
      });
    } else {
      await table.stream(parameterName, BLOCK_VALUES, async (block) => {
        const values = await next();
        if (!(values instanceof Float32Array)) throw new TypeError('Blocks came in place of values.');
        if (checkFinite) refuseNonFinite(checkpointName, values, block.firstRow * (values.length / block.rows));
        loaded += values.length;
        return values;
      });
    }
    tensor.release?.();
    onProgress?.({ status: 'load', name, file: checkpointName, loaded, total, progress: (100 * loaded) / total });
  }
}

/** The reads of all weights, in the order in which a table asks for them. */
function* readsOf(
  table: ParameterTable,
  pairs: readonly (readonly [parameterName: string, checkpointName: string])[],
  checkpoint: Checkpoint,
): Generator<Read<Float32Array | Uint8Array>> {
  for (const [parameterName, checkpointName] of pairs) {
    const tensor = checkpoint.tensor(checkpointName);
    const kept = keptBlocks(table, parameterName, tensor);
    if (kept !== undefined) {
      for (const run of table.blockRuns(parameterName, kept.format, BLOCK_BYTES)) {
        yield (scratch) => kept.read(run, scratch);
      }
    } else {
      for (const run of table.runs(parameterName, BLOCK_VALUES)) yield (scratch) => tensor.readFloat32(run, scratch);
    }
  }
}

/** A tensor's blocks, if the model keeps it in them. */
function keptBlocks(table: ParameterTable, parameterName: string, { blocks }: StoredTensor): StoredBlocks | undefined {
  return blocks !== undefined && table.dtype(parameterName) === blocks.format ? blocks : undefined;
}

/**
 * Pairs the model's parameters with the checkpoint's tensors: (parameter name, checkpoint name).
 * @param whole parameters of the model, of which `table` may be a stage: the checkpoint holds those of all stages.
 * @throws WeightDTypeError, MissingTensorError, UnexpectedTensorError, WeightShapeError
 */
export function matchNames(
  table: ParameterTable,
  definition: ModelDefinition,
  checkpoint: Checkpoint,
  whole: ParameterTable = table,
): [string, string][] {
  const expected = new Set(whole.names());
  const own = new Set(table.names());
  const pairs: [string, string][] = [];
  const unexpected: string[] = [];
  for (const checkpointName of checkpoint.names()) {
    const parameterName = definition.parameterName(checkpointName);
    if (parameterName === undefined) continue;
    if (expected.delete(parameterName)) {
      if (own.has(parameterName)) pairs.push([parameterName, checkpointName]);
    } else if (!checkpoint.quantization?.zeroBiases.has(checkpointName)) {
      unexpected.push(checkpointName);
    }
  }
  // Quantised weights have companions that nothing asks for, and other shapes: their dtype says more than those.
  for (const [, checkpointName] of pairs) {
    const { problem } = checkpoint.tensor(checkpointName);
    if (problem !== undefined) throw problem;
  }
  const where = `the checkpoint in '${checkpoint.folder}'`;
  if (expected.size > 0) {
    throw new MissingTensorError(
      `${capitalized(where)} lacks ${listed([...expected])}.`,
      unexpected.length > 0
        ? `It holds ${listed(unexpected)} instead, which the config does not ask for.`
        : 'config.json and the weights belong to different models, or a shard is missing.',
    );
  }
  if (unexpected.length > 0) {
    throw new UnexpectedTensorError(
      `${capitalized(where)} holds ${listed(unexpected)}, which the config does not ask for.`,
      'config.json and the weights belong to different models.',
    );
  }
  for (const [parameterName, checkpointName] of pairs) {
    const found = checkpoint.info(checkpointName).shape;
    const implied = table.shape(parameterName);
    if (formatShape(found) !== formatShape(implied)) {
      throw new WeightShapeError(
        `'${checkpointName}' has shape ${formatShape(found)}; config.json implies ${formatShape(implied)}.`,
        'config.json and the weights belong to different models.',
      );
    }
  }
  return pairs;
}

/** @param begin index of the first of the values in the tensor. */
function refuseNonFinite(name: string, values: Float32Array, begin: number): void {
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at === -1) return;
  throw new NonFiniteWeightError(
    `'${name}' holds ${values[at]} at element ${begin + at}.`,
    'The checkpoint is damaged, or was saved from a run that diverged.',
  );
}

function refuseNonFiniteBlocks(name: string, format: BlockFormat, bytes: Uint8Array, begin: number): void {
  const block = nonFiniteBlock(format, bytes);
  if (block === -1) return;
  throw new NonFiniteWeightError(
    `'${name}' has a scale or a code that is not finite in the ${format} block at element ${begin + block * BLOCK_FORMATS[format].blockValues}.`,
    'The checkpoint is damaged, or was saved from a run that diverged.',
  );
}

export function listed(names: readonly string[]): string {
  const shown = names.slice(0, 3).map((name) => `'${name}'`);
  return names.length > 3 ? `${shown.join(', ')} and ${names.length - 3} more` : shown.join(', ');
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
