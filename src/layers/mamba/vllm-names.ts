/** vLLM's names (`mamba_mixer2.py`) of functions that here serve other layers too. */
export {
  extraReplicasForShards as extraGroupsForHeadShards,
  stackedWeightLoader as mambaV2ShardedWeightLoader,
} from '../parameters/weight-loaders.ts';
