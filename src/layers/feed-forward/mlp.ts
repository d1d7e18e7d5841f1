import type { MlpActivation } from '../../backends/contract/activations.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { RowParallelLinear } from '../linear/linear.ts';
import { MergedColumnParallelLinear } from '../linear/merged-column-parallel-linear.ts';
import { plainSum, type RankSum, sumOverRanks } from '../linear/rank-sum.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { type Module, type Parameter, partOf, prefixed } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import type { ShardSpec } from '../parameters/weight-loaders.ts';

export interface MlpOptions {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly activation: MlpActivation;
  readonly bias: boolean;
  /**
   * Names of the input projection in the checkpoint: gate and up, one tensor that stacks both, or up alone for a layer
   * without a gate.
   */
  readonly input:
    | { readonly gate: string; readonly up: string }
    | { readonly gateUp: string }
    | { readonly up: string };
  /** Name of the output projection. Default: down_proj. */
  readonly output?: string | undefined;
  /** Factor of the gate before its activation. Default: 1. */
  readonly gateMultiplier?: number | undefined;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/** A feed-forward layer: down(activation(gate x) * up x), or down(activation(up x)). Columns are divided among the ranks. */
export class Mlp implements Module {
  /** Division of the input projection's columns among the ranks. */
  readonly inputSpecs: readonly ShardSpec[];
  readonly #context: LayerContext;
  readonly #activation: MlpActivation;
  readonly #gateMultiplier: number;
  readonly #inputProj: MergedColumnParallelLinear;
  readonly #outputName: string;
  readonly #outputProj: RowParallelLinear;

  constructor(parent: LayerContext, options: MlpOptions) {
    const {
      hiddenSize,
      intermediateSize,
      activation,
      bias,
      input,
      output = 'down_proj',
      prefix,
      quantConfig,
    } = options;
    const context = parent.sharing(intermediateSize);
    this.#context = context;
    this.#activation = activation;
    this.#gateMultiplier = options.gateMultiplier ?? 1;
    const spec = { fullDim: intermediateSize, extra: 0, blockSize: 1 };
    const parts =
      'gateUp' in input
        ? [{ name: input.gateUp, specs: [spec, spec] }]
        : Object.values(input).map((name) => ({ name, specs: [spec] }));
    this.inputSpecs = parts.flatMap(({ specs }) => specs);
    this.#inputProj = new MergedColumnParallelLinear(context, hiddenSize, parts, {
      bias,
      prefix: `${prefix}.${parts[0].name}`,
      quantConfig,
    });
    this.#outputName = output;
    this.#outputProj = new RowParallelLinear(context, intermediateSize, hiddenSize, {
      bias,
      prefix: `${prefix}.${output}`,
      quantConfig,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* partOf('feedForward', this.#inputProj);
    yield* prefixed(this.#outputName, this.#outputProj, 'feedForward');
  }

  /**
   * @param inputDelta (T, this rank's columns of the input projection): added to it, as adapters do.
   * @returns (T, hiddenSize), the same on all ranks.
   */
  forward(x: Tensor, inputDelta?: Tensor): Tensor {
    return sumOverRanks(this.#context.backend, [this.forwardPartial(x, inputDelta)])[0];
  }

  /** {@link forward} without the sum over the ranks. */
  forwardPartial(x: Tensor, inputDelta?: Tensor): RankSum {
    const { backend, group } = this.#context;
    const projected = this.#inputProj.forward(x);
    const activated = this.#activate(inputDelta ? backend.add(projected, inputDelta) : projected);
    return plainSum(group, this.#outputProj.forwardPartial(activated));
  }

  #activate(projected: Tensor): Tensor {
    const { backend } = this.#context;
    if (this.inputSpecs.length === 1) return backend.activate(projected, this.#activation);
    const [gate, up] = backend.splitColumns(projected, this.#inputProj.sizesPerRank);
    const scaled = this.#gateMultiplier === 1 ? gate : backend.mulScalar(gate, this.#gateMultiplier);
    return backend.activateAndMul(scaled, up, this.#activation);
  }
}
