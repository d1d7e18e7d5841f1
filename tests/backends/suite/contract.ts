import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { CausalConv1dArgs, CausalConv1dUpdateArgs } from '../../../src/backends/contract/convolution.ts';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import type {
  ChunkScanArgs,
  LogDecayArgs,
  SelectiveStateUpdateArgs,
} from '../../../src/backends/contract/state-space.ts';
import { ArgumentError, type Mamba2Error, MetadataError, ShapeError } from '../../../src/errors.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { indices, type MakeBackend, useBackend } from './harness.ts';

type ErrorClass = new (problem: string) => Mamba2Error;

/** What no backend made. */
const foreign = (shape: readonly number[], dtype: Tensor['dtype'] = 'float32'): Tensor => ({ shape, dtype });

/** Tests that arguments outside the contract are refused at the call, with the right kind of error. */
export function describeContract(makeBackend: MakeBackend): void {
  describe('contract violations', () => {
    const backend = useBackend(makeBackend);
    const zeros = (...shape: number[]) => backend().zeros(shape);
    const ints = (...values: number[]) => indices(backend(), values);
    const intTensor = (...shape: number[]) => backend().tensor(new Int32Array(shape.reduce((a, b) => a * b, 1)), shape);

    type Violation<Args> = readonly [what: string, change: () => Partial<Args>, error: ErrorClass];
    const refuses = <Args>(
      call: (backend: Backend, change: Partial<Args>) => unknown,
      violations: readonly Violation<Args>[],
    ) => {
      test('accepts what the violations start from', () => {
        expect(() => call(backend(), {})).not.toThrow();
      });
      test.each(violations)('%s', (_, change, error) => {
        const changed = change();
        expect(() => call(backend(), changed)).toThrow(error);
      });
    };

    const slotViolations = <Key extends string>(key: Key): readonly Violation<Record<Key, Tensor>>[] => {
      const slots =
        (...values: number[]) =>
        () =>
          ({ [key]: ints(...values) }) as Record<Key, Tensor>;
      return [
        [`${key} past the last slot`, slots(0, 3), MetadataError],
        [`${key} below the padding slot`, slots(0, -2), MetadataError],
        [`${key} with a slot twice`, slots(1, 1), MetadataError],
        [`${key} for too few sequences`, slots(1), ShapeError],
        [`${key} of floats`, () => ({ [key]: zeros(2) }) as Record<Key, Tensor>, ArgumentError],
      ];
    };

    const startViolations: readonly Violation<Pick<CausalConv1dArgs, 'queryStartLoc'>>[] = [
      ['queryStartLoc that does not begin at 0', () => ({ queryStartLoc: ints(1, 2, 5) }), MetadataError],
      ['queryStartLoc that descends', () => ({ queryStartLoc: ints(0, 6, 5) }), MetadataError],
      ['queryStartLoc that ends early', () => ({ queryStartLoc: ints(0, 2, 4) }), MetadataError],
      ['queryStartLoc that ends late', () => ({ queryStartLoc: ints(0, 2, 6) }), MetadataError],
      ['queryStartLoc without entries', () => ({ queryStartLoc: ints() }), MetadataError],
      ['queryStartLoc of floats', () => ({ queryStartLoc: zeros(3) }), ArgumentError],
    ];

    const convArgs = () => ({
      x: zeros(5, 4),
      weight: zeros(4, 3),
      convStates: zeros(3, 4, 2),
      queryStartLoc: ints(0, 2, 5),
    });
    describe('causalConv1dFn', () => {
      refuses<CausalConv1dArgs>(
        (b, change) => b.causalConv1dFn({ ...convArgs(), ...change }),
        [
          ['x of other channels', () => ({ x: zeros(5, 3) }), ShapeError],
          ['x of one dimension', () => ({ x: zeros(20) }), ShapeError],
          ['weight of three dimensions', () => ({ weight: zeros(4, 1, 3) }), ShapeError],
          ['weight without taps', () => ({ weight: zeros(4, 0) }), ArgumentError],
          ['bias of other channels', () => ({ bias: zeros(3) }), ShapeError],
          ['convStates of other channels', () => ({ convStates: zeros(3, 5, 2) }), ShapeError],
          ['convStates narrower than the past', () => ({ convStates: zeros(3, 4, 1) }), ShapeError],
          ['hasInitialState for too few sequences', () => ({ hasInitialState: ints(1) }), ShapeError],
          ['hasInitialState of floats', () => ({ hasInitialState: zeros(2) }), ArgumentError],
          ['out of another shape', () => ({ out: zeros(4, 4) }), ShapeError],
          ['x of integers', () => ({ x: intTensor(5, 4) }), ArgumentError],
          ['weight of integers', () => ({ weight: intTensor(4, 3) }), ArgumentError],
          ['x of another backend', () => ({ x: foreign([5, 4]) }), ArgumentError],
          ['slots of another backend', () => ({ cacheIndices: foreign([2], 'int32') }), ArgumentError],
          ['fewer default slots than sequences', () => ({ convStates: zeros(1, 4, 2) }), MetadataError],
          ...slotViolations('cacheIndices'),
          ...startViolations,
        ],
      );
    });

    const updateArgs = () => ({ x: zeros(2, 4), weight: zeros(4, 3), convState: zeros(3, 4, 2) });
    describe('causalConv1dUpdate', () => {
      refuses<CausalConv1dUpdateArgs>(
        (b, change) => b.causalConv1dUpdate({ ...updateArgs(), ...change }),
        [
          ['x of other channels', () => ({ x: zeros(2, 5) }), ShapeError],
          ['x of several tokens and other channels', () => ({ x: zeros(2, 2, 5) }), ShapeError],
          ['x of one dimension', () => ({ x: zeros(4) }), ShapeError],
          ['bias of other channels', () => ({ bias: zeros(5) }), ShapeError],
          ['convState narrower than the past', () => ({ convState: zeros(3, 4, 1) }), ShapeError],
          ['cacheSeqlens for too few rows', () => ({ cacheSeqlens: ints(1) }), ShapeError],
          ['cacheSeqlens below 0', () => ({ cacheSeqlens: ints(0, -1) }), MetadataError],
          ['cacheSeqlens of floats', () => ({ cacheSeqlens: zeros(2) }), ArgumentError],
          ['out of another shape', () => ({ out: zeros(2, 1, 4) }), ShapeError],
          ['convState of integers', () => ({ convState: intTensor(3, 4, 2) }), ArgumentError],
          ['convState of another backend', () => ({ convState: foreign([3, 4, 2]) }), ArgumentError],
          ['more rows than default slots', () => ({ x: zeros(4, 4) }), MetadataError],
          ...slotViolations('convStateIndices'),
        ],
      );
    });

    // 5 rows or 2, 4 heads of 3, 2 groups of 6 states, 3 slots.
    const stateArgs = (rows: number) => ({
      x: zeros(rows, 4, 3),
      dt: zeros(rows, 4),
      A: zeros(4),
      B: zeros(rows, 2, 6),
      C: zeros(rows, 2, 6),
    });
    const stateViolations = (rows: number): readonly Violation<ChunkScanArgs & SelectiveStateUpdateArgs>[] => [
      ['x of other heads', () => ({ x: zeros(rows, 5, 3) }), ShapeError],
      ['x of flat columns that are too few', () => ({ x: zeros(rows, 11) }), ShapeError],
      ['dt of other rows', () => ({ dt: zeros(rows + 1, 4) }), ShapeError],
      ['dt of other heads', () => ({ dt: zeros(rows, 3) }), ShapeError],
      ['A of other heads', () => ({ A: zeros(3) }), ShapeError],
      ['B of another state size', () => ({ B: zeros(rows, 2, 5) }), ShapeError],
      ['C of other groups than B', () => ({ C: zeros(rows, 4, 6) }), ShapeError],
      ['B of other groups than nGroups', () => ({ nGroups: 4 }), ShapeError],
      ['groups that do not divide the heads', () => ({ B: zeros(rows, 3, 6), C: zeros(rows, 3, 6) }), ArgumentError],
      ['more groups than heads', () => ({ B: zeros(rows, 8, 6), C: zeros(rows, 8, 6) }), ArgumentError],
      ['no groups', () => ({ B: zeros(rows, 0, 6), C: zeros(rows, 0, 6) }), ArgumentError],
      ['D of other heads', () => ({ D: zeros(3) }), ShapeError],
      ['D of other dims', () => ({ D: zeros(4, 2) }), ShapeError],
      ['z of other rows', () => ({ z: zeros(rows - 1, 4, 3) }), ShapeError],
      ['z flat where x is not', () => ({ z: zeros(rows, 12) }), ShapeError],
      ['dtBias of other heads', () => ({ dtBias: zeros(5) }), ShapeError],
      ['out of another shape', () => ({ out: zeros(rows, 12) }), ShapeError],
      ['x of integers', () => ({ x: intTensor(rows, 4, 3) }), ArgumentError],
      ['dt of integers', () => ({ dt: intTensor(rows, 4) }), ArgumentError],
      ['A of integers', () => ({ A: intTensor(4) }), ArgumentError],
      ['B of another backend', () => ({ B: foreign([rows, 2, 6]) }), ArgumentError],
    ];

    describe('mambaChunkScan', () => {
      const args = () => ({
        ...stateArgs(5),
        ssmStates: zeros(3, 4, 3, 6),
        queryStartLoc: ints(0, 2, 5),
        chunkSize: 4,
      });
      refuses<ChunkScanArgs>(
        (b, change) => b.mambaChunkScan({ ...args(), ...change }),
        [
          ...stateViolations(5),
          ['states of other heads', () => ({ ssmStates: zeros(3, 2, 3, 6) }), ShapeError],
          ['states of integers', () => ({ ssmStates: intTensor(3, 4, 3, 6) }), ArgumentError],
          ['chunks of no tokens', () => ({ chunkSize: 0 }), ArgumentError],
          ['chunks of a fraction', () => ({ chunkSize: 2.5 }), ArgumentError],
          ['hasInitialState for too many sequences', () => ({ hasInitialState: ints(1, 1, 1) }), ShapeError],
          ['fewer default slots than sequences', () => ({ ssmStates: zeros(1, 4, 3, 6) }), MetadataError],
          ...slotViolations('cacheIndices'),
          ...startViolations,
        ],
      );
    });

    describe('selectiveStateUpdate', () => {
      const args = () => ({ ...stateArgs(2), state: zeros(3, 4, 3, 6) });
      refuses<SelectiveStateUpdateArgs>(
        (b, change) => b.selectiveStateUpdate({ ...args(), ...change }),
        [
          ...stateViolations(2),
          ['A per dim of another state size', () => ({ A: zeros(4, 3, 5) }), ShapeError],
          ['dt per dim of other dims', () => ({ dt: zeros(2, 4, 2) }), ShapeError],
          ['fewer default slots than rows', () => ({ state: zeros(1, 4, 3, 6) }), MetadataError],
          ...slotViolations('stateBatchIndices'),
        ],
      );
    });

    describe('logDecaySums', () => {
      const args = () => ({ dt: zeros(5, 4), A: zeros(4), dtBias: zeros(4), queryStartLoc: ints(0, 2, 5) });
      refuses<LogDecayArgs>(
        (b, change) => b.logDecaySums({ ...args(), ...change }),
        [
          ['dt of one dimension', () => ({ dt: zeros(20) }), ShapeError],
          ['dt per channel', () => ({ dt: zeros(5, 4, 3) }), ShapeError],
          ['A of other heads', () => ({ A: zeros(3) }), ShapeError],
          ['A per channel', () => ({ A: zeros(4, 3, 6) }), ShapeError],
          ['dtBias of other heads', () => ({ dtBias: zeros(5) }), ShapeError],
          ['out of other sequences', () => ({ out: zeros(5, 4) }), ShapeError],
          ['dt of integers', () => ({ dt: intTensor(5, 4) }), ArgumentError],
          ['A of another backend', () => ({ A: foreign([4]) }), ArgumentError],
          ...startViolations,
        ],
      );
    });

    describe('the others', () => {
      const weight = () => backend().linearWeight(new Float32Array(12), 3, 4, 'float32');
      const writer = () => backend().linearWeightWriter(3, 4, 'int4');
      const layout = { firstColumn: 0, groupSize: 4 };
      const saved = (length: number) => new HostSavedSlot(new Float32Array(length));
      const calls: readonly (readonly [what: string, call: () => unknown, error: ErrorClass])[] = [
        ['tensor of too few values', () => backend().tensor(new Float32Array(5), [2, 3]), ShapeError],
        ['splitColumns with columns left over', () => backend().splitColumns(zeros(2, 5), [2, 2]), ShapeError],
        ['splitColumns with too many columns', () => backend().splitColumns(zeros(2, 5), [2, 4]), ShapeError],
        ['splitColumns of one dimension', () => backend().splitColumns(zeros(5), [5]), ShapeError],
        ['sliceRows past the end', () => backend().sliceRows(zeros(2, 5), 1, 3), ShapeError],
        ['sliceRows backwards', () => backend().sliceRows(zeros(2, 5), 2, 1), ShapeError],
        ['sliceRows before the first', () => backend().sliceRows(zeros(2, 5), -1, 1), ShapeError],
        ['sliceRows from half a row', () => backend().sliceRows(zeros(4, 2), 0.5, 2.5), ShapeError],
        ['reshape to more elements', () => backend().reshape(zeros(2, 6), [2, 7]), ShapeError],
        ['reshape to other rows', () => backend().reshape(zeros(2, 6), [3, 4]), ShapeError],
        ['copySlot to a slot that is not there', () => backend().copySlot(zeros(3, 2), 0, 3), ArgumentError],
        ['copySlot from a slot that is not there', () => backend().copySlot(zeros(3, 2), -1, 0), ArgumentError],
        ['copySlot of half a slot', () => backend().copySlot(zeros(3, 2), 0.5, 1), ArgumentError],
        ['saveSlot of a slot that is not there', () => backend().saveSlot(zeros(3, 2), 3), ArgumentError],
        ['loadSlot to a slot that is not there', () => backend().loadSlot(zeros(3, 2), -1, saved(2)), ArgumentError],
        ['loadSlot of another size', () => backend().loadSlot(zeros(3, 2), 0, saved(3)), ShapeError],
        ['linearWeight of another size', () => backend().linearWeight(new Float32Array(11), 3, 4, 'int8'), ShapeError],
        ['linearWeightWriter of half a row', () => writer().writeRows(0, new Float32Array(6)), ShapeError],
        ['linearWeightWriter past the end', () => writer().writeRows(2, new Float32Array(8)), ShapeError],
        ['linearWeightWriter before the first row', () => writer().writeRows(-1, new Float32Array(4)), ShapeError],
        ['linear of other columns', () => backend().linear(zeros(2, 3), weight()), ShapeError],
        ['linear with a bias of other columns', () => backend().linear(zeros(2, 4), weight(), zeros(4)), ShapeError],
        ['linear of integers', () => backend().linear(intTensor(2, 4), weight()), ArgumentError],
        [
          'linear with a weight of another backend',
          () => backend().linear(zeros(2, 4), { outFeatures: 3, inFeatures: 4, dtype: 'float32' }),
          ArgumentError,
        ],
        ['embedding of floats', () => backend().embedding(zeros(2), weight()), ArgumentError],
        ['embedding of a matrix of ids', () => backend().embedding(intTensor(2, 2), weight()), ShapeError],
        ['gatherRows past the end', () => backend().gatherRows(zeros(2, 3), ints(0, 2)), ArgumentError],
        ['gatherRows before the first', () => backend().gatherRows(zeros(2, 3), ints(-1)), ArgumentError],
        ['scatterRows past the end', () => backend().scatterRows(zeros(1, 3), ints(2), zeros(2, 3)), ArgumentError],
        ['scatterRows twice to one', () => backend().scatterRows(zeros(2, 3), ints(1, 1), zeros(2, 3)), ArgumentError],
        ['scatterRows of other columns', () => backend().scatterRows(zeros(1, 3), ints(0), zeros(2, 4)), ShapeError],
        ['add of other columns', () => backend().add(zeros(2, 3), zeros(2, 4)), ShapeError],
        ['add of other rows', () => backend().add(zeros(2, 3), zeros(1, 3)), ShapeError],
        ['mulColumns of other columns', () => backend().mulColumns(zeros(2, 3), zeros(2)), ShapeError],
        ['rmsNorm of other columns', () => backend().rmsNorm(zeros(2, 3), zeros(4), 1e-5), ShapeError],
        ['siluGate of other rows', () => backend().siluGate(zeros(2, 3), zeros(3, 3)), ShapeError],
        ['siluGate of another backend', () => backend().siluGate(zeros(2, 3), foreign([2, 3])), ArgumentError],
        ['groupSquareSums of too few groups', () => backend().groupSquareSums(zeros(2, 9), 2, layout), ArgumentError],
        [
          'groupSquareSums of groups of nothing',
          () => backend().groupSquareSums(zeros(2, 9), 2, { firstColumn: 0, groupSize: 0 }),
          ArgumentError,
        ],
        [
          'scaleByGroupNorm with sums of other rows',
          () => backend().scaleByGroupNorm(zeros(2, 8), zeros(1, 2), zeros(8), 1e-5, layout),
          ShapeError,
        ],
        [
          'scaleByGroupNorm past the last group',
          () => backend().scaleByGroupNorm(zeros(2, 8), zeros(2, 2), zeros(8), 1e-5, { firstColumn: 1, groupSize: 4 }),
          ArgumentError,
        ],
      ];
      test.each(calls)('%s', (_, call, error) => {
        expect(call).toThrow(error);
      });
    });
  });
}
