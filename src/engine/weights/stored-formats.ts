import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { MatrixRole } from '../../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../../layers/parameters/quantization.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import { type BlockFormat, fitsBlocks } from '../../tensor/block-formats.ts';

/** Keeps matrices in the blocks that the checkpoint holds, by the names of their layers. */
export class StoredFormats implements QuantizationConfig {
  readonly name: string;
  readonly #formats: ReadonlyMap<string, BlockFormat>;

  /** @param formats of matrices by the model's own names of them, `<prefix>.weight`. */
  constructor(formats: ReadonlyMap<string, BlockFormat>) {
    this.name = [...new Set(formats.values())].join(', ');
    this.#formats = formats;
  }

  /** Routers are read as they are stored, but kept as float32: they are small. */
  weightDType(prefix: string, role: MatrixRole): BlockFormat | undefined {
    return role === 'router' ? undefined : this.#formats.get(`${prefix}.weight`);
  }
}

/**
 * Formats of a checkpoint's matrices, as far as a backend keeps them, by the model's own names.
 * @param kept by the backend.
 */
export function storedFormats(
  checkpoint: Checkpoint,
  definition: ModelDefinition,
  kept: ReadonlySet<BlockFormat> = new Set(),
): ReadonlyMap<string, BlockFormat> {
  const formats = new Map<string, BlockFormat>();
  for (const name of checkpoint.names()) {
    const { shape, blocks } = checkpoint.tensor(name);
    const parameterName = definition.parameterName(name);
    if (parameterName === undefined || blocks === undefined || !kept.has(blocks.format)) continue;
    if (fitsBlocks(blocks.format, shape[shape.length - 1])) formats.set(parameterName, blocks.format);
  }
  return formats;
}
