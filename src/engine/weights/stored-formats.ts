import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { MatrixRole } from '../../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../../layers/parameters/quantization.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import { type BlockFormat, fitsBlocks, type MatrixDType } from '../../tensor/block-formats.ts';
import type { WeightDType } from '../../tensor/dtype.ts';

/** Keeps matrices as the checkpoint holds them, in blocks or as values, by the names of their layers. */
export class StoredFormats implements QuantizationConfig {
  readonly name: string;
  readonly #formats: ReadonlyMap<string, MatrixDType>;

  /** @param formats of matrices by the model's own names of them, `<prefix>.weight`. */
  constructor(formats: ReadonlyMap<string, MatrixDType>) {
    this.name = [...new Set(formats.values())].join(', ');
    this.#formats = formats;
  }

  /** Routers are read as they are stored, but kept as float32: they are small. */
  weightDType(prefix: string, role: MatrixRole): MatrixDType | undefined {
    return role === 'router' ? undefined : this.#formats.get(`${prefix}.weight`);
  }
}

/** Dtypes of values that files and backends share. */
const VALUE_DTYPES: Readonly<Record<string, WeightDType>> = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' };

/**
 * Storage of the matrices of a checkpoint that has quantised ones, by the model's own names: blocks as far as a backend
 * keeps them, and the dtype of values that are stored as such. Empty where all weights are stored as values.
 * @param kept by the backend.
 */
export function storedFormats(
  checkpoint: Checkpoint,
  definition: ModelDefinition,
  kept: ReadonlySet<BlockFormat> = new Set(),
): ReadonlyMap<string, MatrixDType> {
  const formats = new Map<string, MatrixDType>();
  let areBlocksKept = false;
  for (const name of checkpoint.names()) {
    const { dtype, shape, blocks } = checkpoint.tensor(name);
    const parameterName = definition.parameterName(name);
    if (parameterName === undefined || shape.length < 2) continue;
    if (blocks !== undefined && kept.has(blocks.format) && fitsBlocks(blocks.format, shape[shape.length - 1])) {
      formats.set(parameterName, blocks.format);
      areBlocksKept = true;
    } else if (Object.hasOwn(VALUE_DTYPES, dtype)) {
      formats.set(parameterName, VALUE_DTYPES[dtype]);
    }
  }
  return areBlocksKept ? formats : new Map();
}
