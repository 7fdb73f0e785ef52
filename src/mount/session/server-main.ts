/** The program of the serving process over a real repository. Standard error is the log. */
import { createLogger } from '../../base/log.js';
import { closeReplacedSegments, openImage } from '../../native/index.js';
import { openRepository } from '../../repository/repository.js';
import { runServer } from './server.js';

runServer(async (directory, log) => {
  const repository = await openRepository(directory, { log });
  for (const warning of repository.warnings) log.warn(warning);
  return {
    refresh: () => repository.refresh(),
    disks: () => repository.disks(),
    revisions: (disk) => repository.revisions(disk),
    listingMark: (disk) => repository.listingMark(disk),
    diskDir: (disk) => repository.diskDir(disk),
    manifest: (disk, revision) => repository.manifest(disk, revision),
    openImage: (disk, revision) => openImage(repository.diskDir(disk), revision),
    letGo: closeReplacedSegments,
  };
}, createLogger);
