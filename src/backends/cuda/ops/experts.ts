import { ArgumentError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import type { MlpActivation } from '../../contract/activations.ts';
import { checkExperts, checkRouting, type ExpertWeights, type RoutingOptions } from '../../contract/experts.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import { CudaTensor } from '../device/cuda-tensor.ts';
import { type CudaWeight, cudaWeight } from '../device/cuda-weight.ts';
import { activate, activateAndMul } from './rows.ts';

/** Experts that a block of top_k_routing has room for. */
const MOST_EXPERTS = 2048;
/** Bytes that the experts' results of the rows of one pass may take. */
const PASS_BYTES = 128 * 2 ** 20;
/** Outputs of a block of expert_product. */
const TILE_OUTPUTS = 16;

export function topKRouting(
  calls: CudaCalls,
  logits: Tensor,
  options: RoutingOptions,
  correctionBias?: Tensor,
): CudaTensor {
  const own = calls.floats(logits, 'logits', [null, null]);
  const [T, E] = own.shape;
  const bias = calls.optional(correctionBias, 'correctionBias', [E]);
  checkRouting(E, options);
  if (E > MOST_EXPERTS) {
    throw new ArgumentError(`A mixture has ${E} experts.`, `The device 'cuda' takes up to ${MOST_EXPERTS}.`);
  }
  const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
  const out = calls.make(own.shape);
  calls.device.launch(
    'top_k_routing',
    { blocks: [T], threads: 128 },
    {
      ...{ logits: own, bias, out, E, topK, numGroups, topKGroups, scale },
      ...{ isSigmoid: flag(scoring === 'sigmoid'), isRenormalized: flag(renormalize), hasBias: flag(bias) },
    },
  );
  return out;
}

/** The matrices of one kind of all experts, as kernels find them. */
interface ExpertMatrices {
  /** Address of a list of the matrices' addresses. */
  readonly list: number;
  readonly first: CudaWeight;
}

/** Lists of matrices that were made, by the experts that they are of. */
export class ExpertLists {
  readonly #known = new WeakMap<CudaWeight, readonly ExpertMatrices[]>();
  readonly #members = new WeakMap<ExpertMatrices, readonly CudaWeight[]>();

  /** @throws ArgumentError unless all are of one format, in this backend. */
  get(calls: CudaCalls, experts: readonly ExpertWeights[], kind: 'up' | 'down'): ExpertMatrices {
    const matrices = experts.map((expert) => cudaWeight(calls.owner, expert[kind]));
    const [first] = matrices;
    const known = this.#known.get(first) ?? [];
    const found = known.find((each) => this.#members.get(each)?.every((matrix, e) => matrix === matrices[e]));
    if (found && this.#members.get(found)?.length === matrices.length) return found;
    const odd = matrices.find(({ format }) => format !== first.format);
    if (odd) {
      throw new ArgumentError(`Experts' matrices are ${first.format} and ${odd.format}.`, 'Keep all in one format.');
    }
    const list = calls.memory.allocateLasting(8 * matrices.length);
    const addresses = BigUint64Array.from(matrices, ({ address }) => BigInt(address));
    calls.device.call('cuMemcpyHtoDAsync', list, addresses, addresses.byteLength, calls.device.stream);
    const made = { list, first };
    this.#members.set(made, matrices);
    this.#known.set(first, [...known, made]);
    return made;
  }
}

export function fusedMoe(
  calls: CudaCalls,
  lists: ExpertLists,
  x: Tensor,
  routing: Tensor,
  experts: readonly ExpertWeights[],
  activation: MlpActivation,
  gated: boolean,
): CudaTensor {
  const own = calls.floats(x, 'x', [null, null]);
  const [T, C] = own.shape;
  const E = experts.length;
  const weights = calls.floats(routing, 'routing', [T, E]);
  const out = calls.make([T, checkExperts(experts, C, gated)]);
  const up = lists.get(calls, experts, 'up');
  const down = lists.get(calls, experts, 'down');
  const rowBytes = 4 * E * (up.first.outFeatures + down.first.inFeatures + down.first.outFeatures);
  const atOnce = Math.max(1, Math.floor(PASS_BYTES / rowBytes));
  for (let begin = 0; begin < T; begin += atOnce) {
    const count = Math.min(atOnce, T - begin);
    const rows = (all: CudaTensor) => all.view([count, all.shape[1]], begin * all.stride);
    calls.memory.scope(() => {
      const visits = { routing: rows(weights), E };
      const hidden = product(calls, up, { ...visits, x: rows(own), visitStride: 0 });
      const activated = active(calls, hidden, E, activation, gated);
      const { stride } = activated;
      const byRow = activated.view([count, E * down.first.inFeatures], 0, E * stride);
      const y = product(calls, down, { ...visits, x: byRow, visitStride: stride });
      const columns = down.first.outFeatures;
      const parameters = { x: y, routing: visits.routing, out: rows(out), T: count, E, C: columns };
      calls.device.launch('sum_experts', elementGrid(count, columns), parameters);
    });
  }
  return out;
}

interface Visits {
  readonly x: CudaTensor;
  readonly routing: CudaTensor;
  readonly E: number;
  /** Floats of x from visit to visit of a row; 0 where a row is the same for all experts. */
  readonly visitStride: number;
}

/** The products of the rows and the experts that they visit: (T, E * N) without gaps, of which only visits are set. */
function product(
  calls: CudaCalls,
  { list, first }: ExpertMatrices,
  { x, routing, E, visitStride }: Visits,
): CudaTensor {
  const { inFeatures: K, outFeatures: N, rowBytes, format } = first;
  const [T] = x.shape;
  const out = new CudaTensor(calls.owner, calls.memory.allocate(4 * T * E * N), [T, E * N], E * N);
  const grid = { blocks: [Math.ceil(N / TILE_OUTPUTS), E], threads: 128 } as const;
  const isAligned = flag(x.isAligned && visitStride % 4 === 0);
  const parameters = { x, routing, out, weights: list, rowBytes, visitStride, T, E, K, N, isAligned };
  calls.device.launch(`expert_product_${format}`, grid, parameters);
  return out;
}

/** The experts' rows after their activation: (T * E, I). */
function active(
  calls: CudaCalls,
  hidden: CudaTensor,
  E: number,
  activation: MlpActivation,
  gated: boolean,
): CudaTensor {
  const [T, columns] = hidden.shape;
  const width = columns / E;
  const visits = hidden.view([T * E, width], 0, width);
  if (!gated) return activate(calls, visits, activation);
  const I = width / 2;
  return activateAndMul(calls, visits.view([T * E, I]), visits.view([T * E, I], I), activation);
}
