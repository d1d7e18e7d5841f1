import { serveRank } from '../engine/ranks/rank-host.ts';
import { loadSyntheticRank, type SyntheticSource } from './synthetic-model.ts';

serveRank<SyntheticSource>(({ source, options }, { group, onProgress }) =>
  loadSyntheticRank(source, group, options, { onProgress }),
);
