import type { LinearWeight } from '../../backends/contract/linear.ts';
import { isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import { type MatrixWriter, matrixWriter, type RowSink, rowsFrom } from '../parameters/row-sink.ts';
import { matrixDType } from '../parameters/weight.ts';
import { divide, type ShardSpec, stackedWeightLoader } from '../parameters/weight-loaders.ts';
import type { LinearOptions } from './linear.ts';

/** A tensor of the checkpoint that is one piece of a merged layer. */
export interface MergedPart {
  /** Name to which `.weight` and `.bias` are appended. */
  readonly name: string;
  /** The pieces that are stacked in it, each sharded on its own. */
  readonly specs: readonly ShardSpec[];
}

/** Consecutive parts that are one matrix: those of one dtype. */
interface Matrix {
  readonly begin: number;
  readonly end: number;
  readonly dtype: MatrixDType;
  readonly weight: Loaded<LinearWeight>;
  /** Absent: the layer has none. */
  bias?: Tensor;
}

/**
 * Several column-parallel layers of one input as one product: query, key and value, or gate and up. Each keeps its own
 * name in the checkpoint. A rank's columns are its shards of the parts, one after another. Where a file holds parts in
 * blocks of different formats, each format has a product of its own.
 */
export class MergedColumnParallelLinear implements Module {
  /** Columns of each stacked piece on this rank, in order. */
  readonly sizesPerRank: readonly number[];
  readonly #context: LayerContext;
  readonly #inputSize: number;
  readonly #parts: readonly MergedPart[];
  readonly #options: LinearOptions;
  readonly #matrices: readonly Matrix[];

  constructor(context: LayerContext, inputSize: number, parts: readonly MergedPart[], options: LinearOptions) {
    const { size } = context.group;
    this.sizesPerRank = parts.flatMap(({ specs }) =>
      specs.map(({ fullDim }) => divide(fullDim, size, `The layer '${options.prefix}'`)),
    );
    this.#context = context;
    this.#inputSize = inputSize;
    this.#parts = parts;
    this.#options = options;
    this.#matrices = runsOf(parts.map(({ name }) => this.#dtypeOf(name)));
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend, group } = this.#context;
    const rows = this.#parts.map(({ specs }) => specs.reduce((sum, { fullDim }) => sum + fullDim / group.size, 0));
    const sinks = this.#matrices.map((matrix) => {
      const { begin, end, dtype, weight } = matrix;
      const own = rows.slice(begin, end);
      const total = own.reduce((sum, count) => sum + count, 0);
      return {
        weight: new PartSinks(begin, own, {
          begin: () => matrixWriter(backend, [total, this.#inputSize], dtype),
          finish: (writer: MatrixWriter) => weight.set(writer.finish()),
        }),
        bias: new PartSinks(begin, own, {
          begin: () => new VectorWriter(total),
          finish: ({ values }: VectorWriter) => {
            matrix.bias = backend.tensor(values, [total]);
          },
        }),
      };
    });
    for (const [i, { name, specs }] of this.#parts.entries()) {
      const loader = stackedWeightLoader(specs, group.size, group.rank);
      const checkpointRows = specs.reduce((sum, { fullDim, extra }) => sum + fullDim - extra, 0);
      const shape = [checkpointRows, this.#inputSize];
      const of = this.#matrices.findIndex(({ end }) => i < end);
      const { dtype } = this.#matrices[of];
      yield [`${name}.weight`, { role: 'projection', dtype, shape, loader, place: () => sinks[of].weight.sink(i) }];
      if (!this.#options.bias) continue;
      yield [`${name}.bias`, { role: 'bias', shape: [checkpointRows], loader, place: () => sinks[of].bias.sink(i) }];
    }
  }

  /** (T, inputSize) → (T, sum of {@link sizesPerRank}) */
  forward(x: Tensor): Tensor {
    const { backend } = this.#context;
    const products = this.#matrices.map(({ weight, bias }) => backend.linear(x, weight.get(), bias));
    return products.length === 1 ? products[0] : backend.concatColumns(products);
  }

  /** What is said of the whole layer, or else of the part. */
  #dtypeOf(name: string): MatrixDType {
    const { prefix, quantConfig } = this.#options;
    const said = quantConfig?.weightDType(prefix, 'projection');
    if (said !== undefined && !isBlockFormat(said)) return said;
    const parent = prefix.slice(0, prefix.lastIndexOf('.') + 1);
    return matrixDType(this.#context, 'projection', { prefix: `${parent}${name}`, quantConfig }, this.#inputSize);
  }
}

/** Runs of parts of one dtype. */
function runsOf(dtypes: readonly MatrixDType[]): Matrix[] {
  const begins = [...dtypes.keys()].filter((i) => i === 0 || dtypes[i] !== dtypes[i - 1]);
  return begins.map((begin, i) => ({
    begin,
    end: begins[i + 1] ?? dtypes.length,
    dtype: dtypes[begin],
    weight: new Loaded<LinearWeight>('A MergedColumnParallelLinear'),
  }));
}

/** Sinks that fill one writer, each its own rows. The last to finish finishes the writer. */
class PartSinks<W extends Omit<MatrixWriter, 'finish'>> {
  readonly #firstPart: number;
  readonly #rows: readonly number[];
  readonly #make: { begin(): W; finish(writer: W): void };
  #writer: W | undefined;
  #finished = 0;

  /** @param rows of each part, from number `firstPart` on. */
  constructor(firstPart: number, rows: readonly number[], make: { begin(): W; finish(writer: W): void }) {
    this.#firstPart = firstPart;
    this.#rows = rows;
    this.#make = make;
  }

  sink(part: number): RowSink {
    this.#writer ??= this.#make.begin();
    const writer = this.#writer;
    const firstRow = this.#rows.slice(0, part - this.#firstPart).reduce((sum, rows) => sum + rows, 0);
    return {
      ...rowsFrom(writer, firstRow),
      finish: () => {
        this.#finished++;
        if (this.#finished === this.#rows.length) this.#make.finish(writer);
      },
    };
  }
}

class VectorWriter {
  readonly values: Float32Array;

  constructor(length: number) {
    this.values = new Float32Array(length);
  }

  writeRows(firstRow: number, values: Float32Array): number {
    this.values.set(values, firstRow);
    return values.length;
  }
}
