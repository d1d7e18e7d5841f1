import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { syntheticWeight } from '../src/bench/synthetic-weights.ts';
import type { ParameterRole } from '../src/layers/parameters/parameter.ts';
import { type Mamba2Config, readMamba2Config } from '../src/models/mamba2-config.ts';
import type { OnnxAttribute, OnnxGraph, OnnxNode, OnnxTensor, OnnxValue } from './onnx-writer.ts';

/** The seed of `mamba2 bench`, so that both sides run the same model. */
const SEED = 0;
const MICROSOFT = 'com.microsoft';

export type OnnxDType = 'float32' | 'int8';

/** One sequence's state in a layer, as the graph's inputs and outputs have it after the dimension of sequences. */
export interface OnnxState {
  readonly input: string;
  readonly output: string;
  readonly dims: readonly number[];
}

/** A whole model as one graph: `ids` (sequences, tokens) and states go in, last `logits` and states come out. */
export interface OnnxModel {
  readonly graph: OnnxGraph;
  readonly states: readonly OnnxState[];
  readonly vocabSize: number;
}

/**
 * The model of random weights that `mamba2 bench` makes, of the operators with which onnxruntime runs it fastest.
 *
 * The recurrence is com.microsoft's LinearAttention with the rule 'gated', S = exp(g) S + k ⊗ v and o = q S: with C for
 * the query, B for the key, Δx for the value and ΔA for g it is Mamba-2's. In int8 every matrix product is a
 * DynamicQuantizeMatMul: weights with a scale per output, activations with one per call.
 */
export function syntheticOnnx(shape: ModelShape, dtype: OnnxDType): OnnxModel {
  const config = readMamba2Config(MODEL_SHAPES[shape]);
  if (config.nGroups !== 1) throw new Error(`'${shape}' has several groups, which LinearAttention can't share.`);
  return new ModelBuilder(config, dtype).build();
}

class ModelBuilder {
  readonly #config: Mamba2Config;
  readonly #dtype: OnnxDType;
  readonly #nodes: OnnxNode[] = [];
  readonly #tensors = new Map<string, OnnxTensor>();
  readonly #states: OnnxState[] = [];
  #names = 0;

  constructor(config: Mamba2Config, dtype: OnnxDType) {
    this.#config = config;
    this.#dtype = dtype;
  }

  build(): OnnxModel {
    const { vocabSize, hiddenSize, numHiddenLayers, tieWordEmbeddings } = this.#config;
    const embeddings = this.#weight('backbone.embeddings.weight', 'embedding', [vocabSize, hiddenSize]);
    let hidden = this.#node('Gather', [embeddings, 'ids']);
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const prefix = `backbone.layers.${layer}`;
      const normed = this.#rmsNorm(hidden, `${prefix}.norm.weight`, hiddenSize);
      hidden = this.#node('Add', [hidden, this.#mixer(normed, `${prefix}.mixer`, layer)]);
    }
    const [first, end] = [this.#integers('minusOne', [-1]), this.#integers('end', [2 ** 31])];
    const last = this.#node('Slice', [hidden, first, end, this.#integers('one', [1])]);
    const head = tieWordEmbeddings ? 'backbone.embeddings.weight' : 'lm_head.weight';
    const normed = this.#rmsNorm(last, 'backbone.norm_f.weight', hiddenSize);
    this.#emit('Identity', [this.#linear(normed, head, vocabSize, hiddenSize)], ['logits']);
    const batched = (name: string, dims: readonly number[]): OnnxValue => ({
      ...{ name, type: 'float', dims: ['sequences', ...dims] },
    });
    const graph: OnnxGraph = {
      nodes: this.#nodes,
      tensors: [...this.#tensors.values()],
      inputs: [
        { name: 'ids', type: 'int64', dims: ['sequences', 'tokens'] },
        ...this.#states.map(({ input, dims }) => batched(input, dims)),
      ],
      outputs: [batched('logits', [1, vocabSize]), ...this.#states.map(({ output, dims }) => batched(output, dims))],
    };
    return { graph, states: this.#states, vocabSize };
  }

  /** (sequences, tokens, hidden) → the same */
  #mixer(hidden: string, prefix: string, layer: number): string {
    const { hiddenSize, intermediateSize, numHeads, headDim, stateSize, convKernel } = this.#config;
    const convDim = intermediateSize + 2 * stateSize;
    const projected = this.#linear(
      hidden,
      `${prefix}.in_proj.weight`,
      intermediateSize + convDim + numHeads,
      hiddenSize,
    );
    const [z, xBC, rawDt] = this.#split(projected, [intermediateSize, convDim, numHeads]);

    const convState = this.#state(`conv.${layer}`, [convDim, convKernel - 1]);
    const channelsFirst = this.#node('Transpose', [xBC], { perm: { ints: [0, 2, 1] } });
    const convInputs = [
      channelsFirst,
      this.#weight(`${prefix}.conv1d.weight`, 'conv', [convDim, 1, convKernel]),
      this.#weight(`${prefix}.conv1d.bias`, 'bias', [convDim]),
      convState.input,
    ];
    const convolved = this.#name();
    const silu = { activation: 'silu' };
    this.#emit('CausalConvWithState', convInputs, [convolved, convState.output], silu, MICROSOFT);
    const tokensFirst = this.#node('Transpose', [convolved], { perm: { ints: [0, 2, 1] } });
    const [x, B, C] = this.#split(tokensFirst, [intermediateSize, stateSize, stateSize]);

    const dtBias = this.#weight(`${prefix}.dt_bias`, 'stepBias', [numHeads]);
    const dt = this.#node('Softplus', [this.#node('Add', [rawDt, dtBias])]);
    const A = this.#mapped(`${prefix}.A_log`, 'logDecay', [numHeads], (logA) => -Math.exp(logA));
    const decay = this.#node('Mul', [dt, A]);
    const perHead = this.#node('Reshape', [x, this.#integers('heads', [0, 0, numHeads, headDim])]);
    const dtPerHead = this.#node('Unsqueeze', [dt, this.#integers('minusOne', [-1])]);
    const scaled = this.#node('Mul', [perHead, dtPerHead]);
    const value = this.#node('Reshape', [scaled, this.#integers('rows', [0, 0, intermediateSize])]);
    const ssmState = this.#state(`ssm.${layer}`, [numHeads, stateSize, headDim]);
    const y = this.#name();
    const attributes = {
      update_rule: 'gated',
      scale: { float: 1 },
      q_num_heads: { int: 1 },
      kv_num_heads: { int: numHeads },
    };
    const scanInputs = [C, B, value, ssmState.input, decay];
    this.#emit('LinearAttention', scanInputs, [y, ssmState.output], attributes, MICROSOFT);
    // Random models have D = 1 in all heads.
    const skipped = this.#node('Add', [y, x]);

    const gate = this.#node('QuickGelu', [z], { alpha: { float: 1 } }, MICROSOFT);
    const gated = this.#node('Mul', [skipped, gate]);
    const normed = this.#rmsNorm(gated, `${prefix}.norm.weight`, intermediateSize);
    return this.#linear(normed, `${prefix}.out_proj.weight`, hiddenSize, intermediateSize);
  }

  #rmsNorm(x: string, weight: string, columns: number): string {
    const epsilon = { float: this.#config.layerNormEpsilon };
    const inputs = [x, this.#weight(weight, 'norm', [columns])];
    return this.#node('SimplifiedLayerNormalization', inputs, { axis: { int: -1 }, epsilon });
  }

  /** x Wᵀ; the weight is stored as (inputs, outputs), as ONNX's products take it. */
  #linear(x: string, name: string, outputs: number, inputs: number): string {
    const rows = () => syntheticWeight(name, 'projection', [outputs, inputs], SEED);
    if (this.#dtype === 'float32') {
      const values = () => transposed(rows(), outputs, inputs);
      return this.#node('MatMul', [x, this.#tensor(`${name}.transposed`, [inputs, outputs], values)]);
    }
    const scales = rowScales(rows(), outputs, inputs);
    const quantized = () => transposed(quantizedRows(rows(), scales, inputs), outputs, inputs);
    const weight = this.#tensor(`${name}.int8`, [inputs, outputs], quantized);
    const scale = this.#tensor(`${name}.scale`, [outputs], () => scales);
    return this.#node('DynamicQuantizeMatMul', [x, weight, scale], {}, MICROSOFT);
  }

  #split(x: string, sizes: readonly number[]): string[] {
    const outputs = sizes.map(() => this.#name());
    const lengths = this.#integers(`sizes.${sizes.join('.')}`, sizes);
    this.#emit('Split', [x, lengths], outputs, { axis: { int: -1 } });
    return outputs;
  }

  #state(name: string, dims: readonly number[]): OnnxState {
    const state = { input: `past.${name}`, output: `present.${name}`, dims };
    this.#states.push(state);
    return state;
  }

  #weight(name: string, role: ParameterRole, dims: readonly number[]): string {
    return this.#tensor(name, dims, () => syntheticWeight(name, role, dims, SEED));
  }

  #mapped(name: string, role: ParameterRole, dims: readonly number[], map: (value: number) => number): string {
    return this.#tensor(`${name}.mapped`, dims, () => syntheticWeight(name, role, dims, SEED).map(map));
  }

  #integers(name: string, values: readonly number[]): string {
    return this.#tensor(name, [values.length], () => BigInt64Array.from(values, BigInt));
  }

  #tensor(name: string, dims: readonly number[], values: OnnxTensor['values']): string {
    if (!this.#tensors.has(name)) this.#tensors.set(name, { name, dims, values });
    return name;
  }

  #node(type: string, inputs: readonly string[], attributes: OnnxNode['attributes'] = {}, domain = ''): string {
    const output = this.#name();
    this.#emit(type, inputs, [output], attributes, domain);
    return output;
  }

  #emit(
    type: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    domain = '',
  ): void {
    this.#nodes.push({ type, domain, inputs, outputs, attributes });
  }

  #name(): string {
    this.#names++;
    return `value.${this.#names}`;
  }
}

/** The largest magnitude of each row is 127. */
function rowScales(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: rows }, (_, r) => {
    let largest = 0;
    for (let c = 0; c < columns; c++) largest = Math.max(largest, Math.abs(values[r * columns + c]));
    return largest / 127;
  });
}

function quantizedRows(values: Float32Array, scales: Float32Array, columns: number): Int8Array {
  const quantized = new Int8Array(values.length);
  for (let i = 0; i < values.length; i++) quantized[i] = Math.round(values[i] / scales[Math.floor(i / columns)]);
  return quantized;
}

function transposed<A extends Float32Array | Int8Array>(values: A, rows: number, columns: number): A {
  const out = values.slice() as A;
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c];
  return out;
}
