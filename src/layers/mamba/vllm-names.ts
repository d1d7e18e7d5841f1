/** vLLM's names (`mamba_mixer2.py`) of functions that serve other layers as well here. */
export {
  extraReplicasForShards as extraGroupsForHeadShards,
  stackedWeightLoader as mambaV2ShardedWeightLoader,
} from '../parameters/weight-loaders.ts';
