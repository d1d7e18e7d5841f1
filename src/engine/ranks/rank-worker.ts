import { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { RemoteFiles } from '../../checkpoint/files/remote-files.ts';
import { loadRank } from './load-rank.ts';
import { serveRank } from './rank-host.ts';
import type { CheckpointSource } from './rank-protocol.ts';

serveRank<CheckpointSource>(async ({ source, options }, { group, onProgress, ask }) => {
  const files = 'folder' in source ? source.folder : new RemoteFiles(source.files, ask);
  const checkpoint = await Checkpoint.open(files);
  try {
    return await loadRank(checkpoint, group, options, { onProgress });
  } finally {
    await checkpoint.close();
  }
});
