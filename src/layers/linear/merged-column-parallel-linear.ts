import type { LinearWeight, LinearWeightWriter } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import type { RowSink } from '../parameters/row-sink.ts';
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

/**
 * Several column-parallel layers of one input as one product: query, key and value, or gate and up. Each keeps its own
 * name in the checkpoint. A rank's columns are its shards of the parts, one after another.
 */
export class MergedColumnParallelLinear implements Module {
  /** Columns of each stacked piece on this rank, in order. */
  readonly sizesPerRank: readonly number[];
  readonly #context: LayerContext;
  readonly #inputSize: number;
  readonly #parts: readonly MergedPart[];
  readonly #options: LinearOptions;
  readonly #weight = new Loaded<LinearWeight>('A MergedColumnParallelLinear');
  #bias: Tensor | undefined;

  constructor(context: LayerContext, inputSize: number, parts: readonly MergedPart[], options: LinearOptions) {
    const { size } = context.group;
    this.sizesPerRank = parts.flatMap(({ specs }) =>
      specs.map(({ fullDim }) => divide(fullDim, size, `The layer '${options.prefix}'`)),
    );
    this.#context = context;
    this.#inputSize = inputSize;
    this.#parts = parts;
    this.#options = options;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend, group } = this.#context;
    const rows = this.#parts.map(({ specs }) => specs.reduce((sum, { fullDim }) => sum + fullDim / group.size, 0));
    const total = rows.reduce((sum, count) => sum + count, 0);
    const dtype = matrixDType(this.#context, 'projection', this.#options);
    const weight = new PartSinks(rows, this.#inputSize, {
      begin: () => backend.linearWeightWriter(total, this.#inputSize, dtype),
      finish: (writer: LinearWeightWriter) => this.#weight.set(writer.finish()),
    });
    const bias = new PartSinks(rows, 1, {
      begin: () => new VectorWriter(total),
      finish: ({ values }: VectorWriter) => {
        this.#bias = backend.tensor(values, [total]);
      },
    });
    for (const [i, { name, specs }] of this.#parts.entries()) {
      const loader = stackedWeightLoader(specs, group.size, group.rank);
      const checkpointRows = specs.reduce((sum, { fullDim, extra }) => sum + fullDim - extra, 0);
      const shape = [checkpointRows, this.#inputSize];
      yield [`${name}.weight`, { role: 'projection', dtype, shape, loader, place: () => weight.sink(i) }];
      if (!this.#options.bias) continue;
      yield [`${name}.bias`, { role: 'bias', shape: [checkpointRows], loader, place: () => bias.sink(i) }];
    }
  }

  /** (T, inputSize) → (T, sum of {@link sizesPerRank}) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.linear(x, this.#weight.get(), this.#bias);
  }
}

/** A writer for the rows of several tensors. */
interface RowWriter {
  writeRows(firstRow: number, values: Float32Array): void;
}

/** Sinks that fill one writer, each its own rows. The last to finish finishes the writer. */
class PartSinks<W extends RowWriter> {
  readonly #rows: readonly number[];
  readonly #columns: number;
  readonly #make: { begin(): W; finish(writer: W): void };
  #writer: W | undefined;
  #finished = 0;

  constructor(rows: readonly number[], columns: number, make: { begin(): W; finish(writer: W): void }) {
    this.#rows = rows;
    this.#columns = columns;
    this.#make = make;
  }

  sink(part: number): RowSink {
    this.#writer ??= this.#make.begin();
    const writer = this.#writer;
    let nextRow = this.#rows.slice(0, part).reduce((sum, rows) => sum + rows, 0);
    return {
      write: (values) => {
        writer.writeRows(nextRow, values);
        nextRow += values.length / this.#columns;
      },
      finish: () => {
        this.#finished++;
        if (this.#finished === this.#rows.length) this.#make.finish(writer);
      },
    };
  }
}

class VectorWriter implements RowWriter {
  readonly values: Float32Array;

  constructor(length: number) {
    this.values = new Float32Array(length);
  }

  writeRows(firstRow: number, values: Float32Array): void {
    this.values.set(values, firstRow);
  }
}
