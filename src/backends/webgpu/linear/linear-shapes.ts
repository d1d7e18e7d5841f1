import type { GpuDevice } from '../device/gpu-device.ts';
import type { Lowering } from '../graph/lowering.ts';
import type { LayerSizes, MatrixFewShape, MatrixShape, VectorLaunch } from '../launch/launch-parameters.ts';
import type { ShaderArguments } from '../shaders/shaders.generated.ts';
import type { GpuLinearWeight } from './linear-weight.ts';

// How the kernels of linear layers are laid out for some rows and a weight: their constants, in capitals as there.

/** Constants of linear-vector. */
export interface VectorShape {
  readonly ROWS: number;
  readonly BLOCKING: number;
  readonly PARTS: number;
  readonly AHEAD: number;
  readonly PARTIAL: boolean;
}

/** Layout of linear-vector for these rows, or undefined if none fits. */
export function vectorShape(
  lowering: Lowering,
  B: number,
  weight: GpuLinearWeight,
  groups: number,
): VectorShape | undefined {
  for (const shape of lowering.launch.vector) {
    if (B > shape.maxRows || !isOfSize(shape, weight)) continue;
    for (let patches = shape.blocking; patches >= 1; patches /= 2) {
      const found = vectorParts(lowering, shape, { B, groups, patches, weight });
      if (found) return found;
    }
  }
  return undefined;
}

/** The layout with as few parts as keep the device busy. */
function vectorParts(
  { gpu }: Lowering,
  { rows, busy, maxParts, ahead }: VectorLaunch,
  { B, groups, patches, weight }: { B: number; groups: number; patches: number; weight: GpuLinearWeight },
): VectorShape | undefined {
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = gpu.limits;
  const across = 32 / rows;
  const eights = weight.inFeatures / 8;
  const fits = (parts: number) =>
    32 * parts <= maxComputeInvocationsPerWorkgroup &&
    // An invocation puts one result at most.
    patches * rows * B <= 32 * parts &&
    4 * parts * across * B * (patches * rows + 1) <= maxComputeWorkgroupStorageSize;
  const isWhole = (parts: number) => eights % (parts * across) === 0;
  // A group's inputs are some parts' and no others'.
  const isGrouped = (parts: number) => groups === 1 || (parts % groups === 0 && isWhole(parts));
  const workgroups = Math.ceil(weight.outFeatures / (rows * patches));
  const possible = [4, 6, 8, 12, 16, 32].filter((parts) => parts <= maxParts && fits(parts) && isGrouped(parts));
  const whole = possible.filter(isWhole);
  const candidates = whole.length > 0 ? whole : possible;
  const PARTS = candidates.find((parts) => parts * workgroups >= busy) ?? candidates.at(-1);
  if (PARTS === undefined) return undefined;
  // A number of loads that leaves no rest: the rest would be loaded in vain.
  const AHEAD = dividing(Math.ceil(eights / (PARTS * across)), ahead);
  return { ROWS: rows, BLOCKING: patches, PARTS, AHEAD, PARTIAL: !isWhole(PARTS) };
}

/** The constants of a product that do not follow from the layer. */
type Layout<Shader extends 'linear-matrix-few' | 'linear-matrix'> = Omit<
  ShaderArguments[Shader]['constants'],
  'K' | 'OUTPUTS' | 'BIAS' | 'RESIDUAL' | 'CONV' | 'SILU' | 'DTYPE' | 'TILES' | 'ROW_WORDS'
>;

/** A product by subgroup matrices: the kernel, its constants, and its grid. */
export type ProductShape = { readonly workgroups: readonly [x: number, y: number, z: number] } & (
  | { readonly shader: 'linear-matrix-few'; readonly constants: Layout<'linear-matrix-few'> }
  | { readonly shader: 'linear-matrix'; readonly constants: Layout<'linear-matrix'> }
);

/** Constants of linear-matrix that say how its outputs are divided, and its block. */
export interface BlockShape {
  readonly block: readonly [rows: number, columns: number];
  readonly constants: ReturnType<typeof matrixConstants>;
}

/** Layout of the product of some rows and `outputs` of a weight's outputs. */
export function productShape(lowering: Lowering, T: number, weight: GpuLinearWeight, outputs: number): ProductShape {
  const { launch, gpu } = lowering;
  const few = launch.matrixFew.find((shape) => isForFew(lowering, shape, T, weight));
  if (few) return fewProduct(few, T, weight, outputs);
  const shapes = launch.matrix.filter((shape) => fitsDevice(gpu, matrixConstants(shape, weight.inFeatures)));
  const found = shapes.find((shape) => T <= shape.maxRows && workgroupsOf(shape, T, outputs) >= shape.minWorkgroups);
  return matrixProduct(found ?? shapes[shapes.length - 1], T, weight, outputs);
}

/**
 * Layout of the product of all outputs if workgroups share the inputs, or undefined if none fits. A slice's inputs lie
 * in one of the norm's `groups`.
 */
export function slicedShape(
  lowering: Lowering,
  T: number,
  weight: GpuLinearWeight,
  groups: number,
): ProductShape | undefined {
  const { launch, gpu } = lowering;
  const { inFeatures, outFeatures } = weight;
  const few = launch.slicedFew.find(
    (shape) =>
      shape.slices % groups === 0 &&
      (inFeatures / 16) % shape.slices === 0 &&
      inFeatures / 16 / shape.slices >= shape.parts &&
      isForFew(lowering, shape, T, weight),
  );
  if (few) return fewProduct(few, T, weight, outFeatures, few.slices);
  const block = launch.slicedMatrix.find(
    (shape) =>
      T <= shape.maxRows &&
      shape.slices % groups === 0 &&
      (inFeatures / shape.depth) % shape.slices === 0 &&
      workgroupsOf(shape, T, outFeatures) * shape.slices >= shape.minWorkgroups &&
      fitsDevice(gpu, matrixConstants(shape, inFeatures / shape.slices)),
  );
  return block && matrixProduct(block, T, weight, outFeatures, block.slices);
}

function isForFew({ gpu }: Lowering, shape: MatrixFewShape, T: number, weight: GpuLinearWeight): boolean {
  const { maxRows, parts, panels } = shape;
  return (
    weight.layout === 'tiles' &&
    T <= maxRows &&
    isOfSize(shape, weight) &&
    32 * parts <= gpu.limits.maxComputeInvocationsPerWorkgroup &&
    1024 * parts * panels * Math.ceil(T / 16) <= gpu.limits.maxComputeWorkgroupStorageSize
  );
}

function isOfSize({ minOutputs, maxOutputs, minInputs }: LayerSizes, weight: GpuLinearWeight): boolean {
  const { outFeatures, inFeatures } = weight;
  return outFeatures >= minOutputs && outFeatures <= maxOutputs && inFeatures >= minInputs;
}

function fewProduct(
  { panels, parts, ahead }: MatrixFewShape,
  T: number,
  { inFeatures }: GpuLinearWeight,
  outputs: number,
  SLICES = 1,
): ProductShape {
  const M16 = Math.ceil(T / 16);
  // A number of loads that leaves no rest, whose loads would wait for each other.
  const steps = Math.floor(inFeatures / 16 / SLICES / parts);
  const AHEAD = dividing(Math.max(1, steps), ahead);
  return {
    shader: 'linear-matrix-few',
    constants: {
      M16,
      N16: panels,
      PARTS: parts,
      AHEAD,
      EACH: Math.ceil((2 * M16 * panels) / parts),
      NORM: false,
      ...sliced(SLICES),
    },
    workgroups: [Math.ceil(outputs / (16 * panels)), SLICES, 1],
  };
}

function matrixProduct(
  shape: MatrixShape,
  T: number,
  { inFeatures, dtype }: GpuLinearWeight,
  outputs: number,
  SLICES = 1,
): ProductShape {
  const constants = matrixConstants(shape, inFeatures / SLICES);
  return {
    shader: 'linear-matrix',
    constants: { ...constants, FLOAT16: dtype === 'float16', NORM: false, GROUPS: 1, ...sliced(SLICES) },
    workgroups: [workgroupsOf(shape, T, outputs), SLICES, 1],
  };
}

/** Constants that say how many workgroups share the inputs; 1 if none do. */
export function sliced(SLICES: number) {
  return { SLICES, SLICED: SLICES > 1 };
}

/** The greatest divisor of a number that is no greater than `most`. */
function dividing(value: number, most: number): number {
  let divisor = Math.min(value, most);
  while (value % divisor !== 0) divisor--;
  return divisor;
}

/** Layout of linear-matrix that normalises its rows itself, or undefined if another kernel must do that. */
export function normalisingShape(
  { launch, gpu }: Lowering,
  T: number,
  weight: GpuLinearWeight,
  groups: number,
): BlockShape | undefined {
  const { outFeatures, inFeatures } = weight;
  for (const shape of launch.matrixNormalising) {
    const { maxRows, maxInputs, minWorkgroups, block, depth } = shape;
    if (T > maxRows || inFeatures > maxInputs || workgroupsOf(shape, T, outFeatures) < minWorkgroups) continue;
    const constants = matrixConstants(shape, inFeatures);
    const { SPLIT, THREADS } = constants;
    // A part's inputs are one group's. Dawn wants workgroups that are multiples of the largest subgroups there are.
    if (SPLIT % groups !== 0 || THREADS < 128) continue;
    // Sums of squares, and their groups' scales.
    const ofNorm = 4 * block[0] * ((SPLIT * depth) / 8 + groups);
    if (fitsDevice(gpu, constants, ofNorm)) return { block, constants };
  }
  return undefined;
}

/** @param more bytes of workgroup memory, besides the blocks. */
function fitsDevice(
  { limits: { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } }: GpuDevice,
  { SHARED, THREADS }: { SHARED: number; THREADS: number },
  more = 0,
): boolean {
  return 16 * SHARED + more <= maxComputeWorkgroupStorageSize && THREADS <= maxComputeInvocationsPerWorkgroup;
}

function workgroupsOf({ block: [BM, BN] }: MatrixShape, T: number, outputs: number): number {
  return Math.ceil(T / BM) * Math.ceil(outputs / BN);
}

function matrixConstants(
  { block: [BM, BN], depth: BK, piece: [WM, WN], band, split, stages }: MatrixShape,
  inputs: number,
) {
  const subgroups = (BM / WM) * (BN / WN);
  const SPLIT = dividing(inputs / BK, split);
  const ofPart = 32 * subgroups;
  return {
    BM,
    BN,
    BK,
    WM,
    WN,
    BAND: band,
    SPLIT,
    STAGES: stages,
    THREADS: SPLIT * ofPart,
    FRAGMENTS_DOWN: WM / 16,
    FRAGMENTS_ACROSS: WN / 16,
    STEPS: BK / 16,
    A_LOADS: (BM * BK) / 8 / ofPart,
    W_LOADS: (BN * BK) / 8 / ofPart,
    SHARED: SPLIT * Math.max((BM + BN) * (BK / 8 + 1), 4 * subgroups * WN),
  };
}

/** Whether subgroups are of 32 invocations, neighbours in a workgroup of one dimension. */
export function hasSubgroupsOf32({ gpu: { features, info } }: Lowering): boolean {
  return features.has('subgroups') && info.subgroupMinSize === 32 && info.subgroupMaxSize === 32;
}
