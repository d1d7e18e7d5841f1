import type { MlpActivation } from '../../backends/contract/activations.ts';
import type { LinearWeight } from '../../backends/contract/linear.ts';
import { blockRowBytes, isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { joinBytes } from '../../util/join-bytes.ts';
import { plainSum, type RankSum, sumOverRanks } from '../linear/rank-sum.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import { expertWriters, type MatrixWriter, matrixWriter, type RowSink, writerSink } from '../parameters/row-sink.ts';
import { matrixDType } from '../parameters/weight.ts';
import {
  loadShard,
  shardedWeightLoader,
  stackedWeightLoader,
  type WeightLoader,
} from '../parameters/weight-loaders.ts';

export interface FusedMoeOptions {
  readonly numExperts: number;
  /** Columns of input and output. */
  readonly hiddenSize: number;
  /** Columns between an expert's two projections. */
  readonly intermediateSize: number;
  readonly activation: MlpActivation;
  /** Whether an expert's input projection is a gate stacked on the projection that it gates. */
  readonly gated: boolean;
  /**
   * Names of the experts' matrices in the checkpoint: stacked in one tensor (experts, rows, columns) of these names
   * each, or in matrices of their own named `experts.<number>.<name>.weight`.
   */
  readonly layout: 'stacked' | 'separate';
  readonly inputName: string;
  readonly outputName: string;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/** A mixture of experts without its router. Every rank holds its part of each expert's columns. */
export class FusedMoe implements Module {
  readonly #context: LayerContext;
  readonly #options: FusedMoeOptions;
  /** Grows as experts are loaded: a config's number of experts is not believed before the checkpoint was looked at. */
  readonly #up: Loaded<LinearWeight>[] = [];
  readonly #down: Loaded<LinearWeight>[] = [];
  /** Writers of all experts' matrices of a kind, where the backend writes them together. */
  readonly #writers = new Map<ExpertMatrices['experts'], readonly MatrixWriter[] | undefined>();

  constructor(parent: LayerContext, options: FusedMoeOptions) {
    this.#context = parent.sharing(options.intermediateSize);
    this.#options = options;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { group } = this.#context;
    const { hiddenSize, intermediateSize, gated, inputName, outputName } = this.#options;
    const spec = { fullDim: intermediateSize, extra: 0, blockSize: 1 };
    const specs = gated ? [spec, spec] : [spec];
    const own = intermediateSize / group.size;
    const input = {
      name: inputName,
      shape: [specs.length * intermediateSize, hiddenSize],
      ownShape: [specs.length * own, hiddenSize],
      loader: stackedWeightLoader(specs, group.size, group.rank),
      experts: this.#up,
    } as const;
    const output = {
      name: outputName,
      shape: [hiddenSize, intermediateSize],
      ownShape: [hiddenSize, own],
      loader: shardedWeightLoader(1, group.size, group.rank),
      experts: this.#down,
    } as const;
    for (const matrices of [input, output]) {
      if (this.#options.layout === 'stacked') yield this.#stacked(matrices);
      else yield* this.#separate(matrices);
    }
  }

  /**
   * @param routing (T, numExperts): each token's weight for every expert.
   * @returns (T, hiddenSize), the same on all ranks.
   */
  forward(x: Tensor, routing: Tensor): Tensor {
    return sumOverRanks(this.#context.backend, [this.forwardPartial(x, routing)])[0];
  }

  /** {@link forward} without the sum over the ranks. */
  forwardPartial(x: Tensor, routing: Tensor): RankSum {
    const { backend, group } = this.#context;
    const { numExperts, activation, gated } = this.#options;
    const expert = (_: unknown, e: number) => ({ up: nth(this.#up, e).get(), down: nth(this.#down, e).get() });
    const experts = Array.from({ length: numExperts }, expert);
    return plainSum(group, backend.fusedMoe(x, routing, experts, activation, gated));
  }

  *#separate(matrices: ExpertMatrices): Iterable<readonly [string, Parameter]> {
    const { shape, loader } = matrices;
    for (let e = 0; e < this.#options.numExperts; e++) {
      const name = nameOf(matrices, e);
      const dtype = this.#dtypeOf(name, matrices);
      const place = () => this.#sink(matrices, e, dtype);
      yield [`${name}.weight`, { role: 'expert', part: 'experts', dtype, shape, loader, place }];
    }
  }

  #stacked(matrices: ExpertMatrices): readonly [string, Parameter] {
    const { name, shape, ownShape, loader } = matrices;
    const [rows, columns] = ownShape;
    const dtype = this.#dtypeOf(name, matrices);
    const place = (): RowSink => {
      let next = 0;
      // A row of the stacked tensor is an expert's whole matrix.
      const toNext = (fill: (sink: RowSink) => void) => {
        const sink = this.#sink(matrices, next, dtype);
        fill(sink);
        sink.finish();
        next++;
      };
      const write = (values: Float32Array) => {
        const size = rows * columns;
        for (let begin = 0; begin < values.length; begin += size) {
          toNext((sink) => sink.write(values.subarray(begin, begin + size)));
        }
      };
      const finish = () => {};
      if (!isBlockFormat(dtype)) return { write, finish };
      const writeBlocks = (blocks: Uint8Array) => {
        const size = rows * blockRowBytes(dtype, columns);
        for (let begin = 0; begin < blocks.length; begin += size) {
          toNext((sink) => sink.writeBlocks?.(blocks.subarray(begin, begin + size)));
        }
      };
      return { write, writeBlocks, finish };
    };
    return [
      `${name}.weight`,
      {
        role: 'expert',
        part: 'experts',
        dtype,
        shape: [this.#options.numExperts, ...shape],
        loader: eachOf(loader),
        place,
      },
    ];
  }

  /** Storage of an expert's matrix, or of a stack: what is said of all experts, or else of this tensor. */
  #dtypeOf(name: string, { ownShape: [, columns] }: ExpertMatrices): MatrixDType {
    const { prefix, quantConfig } = this.#options;
    const all = `${prefix}.experts`;
    const isForAll = quantConfig?.weightDType(all, 'expert') !== undefined;
    const spec = { prefix: isForAll ? all : `${prefix}.${name}`, quantConfig };
    return matrixDType(this.#context, 'expert', spec, columns);
  }

  #sink(matrices: ExpertMatrices, expert: number, dtype: MatrixDType): RowSink {
    const { ownShape, experts } = matrices;
    const { backend } = this.#context;
    if (!this.#writers.has(experts)) {
      const { numExperts } = this.#options;
      const areAlike = this.#areAll(matrices, dtype);
      this.#writers.set(experts, areAlike ? expertWriters(backend, numExperts, ownShape, dtype) : undefined);
    }
    const writer = this.#writers.get(experts)?.[expert] ?? matrixWriter(backend, ownShape, dtype);
    return writerSink(writer, (weight) => nth(experts, expert).set(weight));
  }

  /** Whether all experts' matrices of a kind have this storage. */
  #areAll(matrices: ExpertMatrices, dtype: MatrixDType): boolean {
    const { layout, numExperts } = this.#options;
    if (layout === 'stacked') return true;
    for (let e = 0; e < numExperts; e++) {
      if (this.#dtypeOf(nameOf(matrices, e), matrices) !== dtype) return false;
    }
    return true;
  }
}

function nameOf({ name }: ExpertMatrices, expert: number): string {
  return `experts.${expert}.${name}`;
}

/** All experts' matrices of one kind: as the checkpoint has them, and this rank's part. */
interface ExpertMatrices {
  readonly name: string;
  readonly shape: readonly [number, number];
  readonly ownShape: readonly [number, number];
  readonly loader: WeightLoader;
  readonly experts: Loaded<LinearWeight>[];
}

function nth(experts: Loaded<LinearWeight>[], e: number): Loaded<LinearWeight> {
  experts[e] ??= new Loaded<LinearWeight>('A FusedMoe');
  return experts[e];
}

/** Takes the same part of every matrix of a stack. */
function eachOf(loader: WeightLoader): WeightLoader {
  return {
    rows: ([count]) => [{ firstRow: 0, rows: count }],
    part: (matrices, [, rows, columns]) => {
      if (hasAllRows(loader, [rows, columns])) return loader.part(matrices, [rows, columns]);
      const size = rows * columns;
      const parts: Float32Array[] = [];
      for (let begin = 0; begin < matrices.length; begin += size) {
        parts.push(loadShard(loader, matrices.subarray(begin, begin + size), [rows, columns]));
      }
      const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
      parts.reduce((filled, part) => {
        all.set(part, filled);
        return filled + part.length;
      }, 0);
      return all;
    },
    partOfBytes: (matrices, [, rows, rowBytes]) => {
      if (hasAllRows(loader, [rows, rowBytes])) return loader.partOfBytes?.(matrices, [rows, rowBytes]) ?? matrices;
      const size = rows * rowBytes;
      const own = loader.rows([rows, rowBytes]);
      const parts: Uint8Array[] = [];
      for (let begin = 0; begin < matrices.length; begin += size) {
        for (const run of own) {
          const first = begin + run.firstRow * rowBytes;
          const taken = matrices.slice(first, first + run.rows * rowBytes);
          parts.push(loader.partOfBytes?.(taken, [rows, rowBytes]) ?? taken);
        }
      }
      return joinBytes(parts);
    },
  };
}

/** Whether a rank holds something of every row of such a matrix, in their order: then rows of all matrices are cut at once. */
function hasAllRows(loader: WeightLoader, shape: readonly [number, number]): boolean {
  const own = loader.rows(shape);
  return own.length === 1 && own[0].rows === shape[0];
}
