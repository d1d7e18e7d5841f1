import type { LinearWeight } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import { linearWeightSink } from '../parameters/row-sink.ts';
import type { WeightLoader } from '../parameters/weight-loaders.ts';

/**
 * A table (vocabSize, hiddenSize) whose rows are divided among the ranks: the input embedding, the output head, or
 * both at once where a model ties them. Where ranks do not divide the vocabulary, the last ones hold rows of zeros.
 */
export class VocabParallelEmbedding implements Module {
  readonly #context: LayerContext;
  readonly #vocabSize: number;
  readonly #hiddenSize: number;
  readonly #rowsPerRank: number;
  readonly #prefix: string;
  readonly #quantConfig: QuantizationConfig | undefined;
  readonly #table = new Loaded<LinearWeight>('A VocabParallelEmbedding');

  constructor(
    context: LayerContext,
    vocabSize: number,
    hiddenSize: number,
    prefix: string,
    quantConfig?: QuantizationConfig,
  ) {
    this.#context = context;
    this.#vocabSize = vocabSize;
    this.#hiddenSize = hiddenSize;
    this.#rowsPerRank = Math.ceil(vocabSize / context.group.size);
    this.#prefix = prefix;
    this.#quantConfig = quantConfig;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend, group, weightDType } = this.#context;
    const [rows, columns] = [this.#rowsPerRank, this.#hiddenSize];
    const dtype = this.#quantConfig?.weightDType(this.#prefix) ?? weightDType;
    yield [
      'weight',
      {
        shape: [this.#vocabSize, columns],
        loader: rowsOfRankLoader(rows, group.rank),
        place: () => linearWeightSink(backend, [rows, columns], dtype, (table) => this.#table.set(table)),
      },
    ];
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
