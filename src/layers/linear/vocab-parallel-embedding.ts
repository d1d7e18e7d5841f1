import type { LinearWeight } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { Module, Parameter } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import { matrixWeight, type Weight } from '../parameters/weight.ts';
import type { WeightLoader } from '../parameters/weight-loaders.ts';

export interface VocabParallelEmbeddingOptions {
  /** A table that serves as both is the head. */
  readonly role: 'embedding' | 'head';
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/**
 * A table (vocabSize, hiddenSize) whose rows are divided among the ranks: the input embedding, the output head, or
 * both at once where a model ties them. Where ranks do not divide the vocabulary, the last ones hold rows of zeros.
 */
export class VocabParallelEmbedding implements Module {
  readonly #context: LayerContext;
  readonly #vocabSize: number;
  readonly #rowsPerRank: number;
  readonly #table: Weight<LinearWeight>;

  constructor(
    context: LayerContext,
    { role, vocabSize, hiddenSize, prefix, quantConfig }: VocabParallelEmbeddingOptions,
  ) {
    const { size, rank } = context.group;
    this.#context = context;
    this.#vocabSize = vocabSize;
    this.#rowsPerRank = Math.ceil(vocabSize / size);
    this.#table = matrixWeight(context, role, {
      owner: 'A VocabParallelEmbedding',
      shape: [vocabSize, hiddenSize],
      ownShape: [this.#rowsPerRank, hiddenSize],
      loader: rowsOfRankLoader(this.#rowsPerRank, rank),
      prefix,
      quantConfig,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#table.parameter];
  }

  /** ids (T) int32 → (T, hiddenSize), the same on all ranks. */
  embed(ids: Tensor): Tensor {
    const { backend, group } = this.#context;
    const firstRow = group.rank * this.#rowsPerRank;
    return backend.allReduce([backend.embedding(ids, this.#table.get(), firstRow)], group)[0];
  }

  /** hidden states (T, hiddenSize) → logits (T, vocabSize), the same on all ranks. */
  logits(hiddenStates: Tensor): Tensor {
    const { backend, group } = this.#context;
    const padded = backend.allGatherColumns(backend.linear(hiddenStates, this.#table.get()), group);
    const padding = this.#rowsPerRank * group.size - this.#vocabSize;
    return padding === 0 ? padded : backend.splitColumns(padded, [this.#vocabSize, padding])[0];
  }
}

/** Rank r's `rows` rows, as far as the checkpoint has them. */
function rowsOfRankLoader(rows: number, rank: number): WeightLoader {
  return {
    rows: ([vocabSize]) => {
      const firstRow = Math.min(rank * rows, vocabSize);
      return [{ firstRow, rows: Math.min(rows, vocabSize - firstRow) }];
    },
    part: (given) => given,
  };
}
