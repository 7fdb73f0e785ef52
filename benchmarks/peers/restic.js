import { versionOf } from './program.js';

/** restic's repository lies in `at/repository`, its cache beside it. */
export const restic = {
  name: 'restic',
  program: 'restic',
  version: () => versionOf('restic', ['version']),
  settings: 'repository version 2, --compression auto, --pack-size 64, --force; encrypted, as it always is',
  why: 'auto is the faster of its two levels of zstd; larger packs are fewer files to sync; chunks cannot be chosen',
  initialise: (at) => [resticAt(at, ['init', '--repository-version', '2'])],
  backup: (at, image) => ({
    ...resticAt(at, ['backup', '--force', '--compression', 'auto', '--pack-size', '64', image.name]),
    cwd: image.directory,
  }),
  restoreToFile: (at, _revision, directory) => resticAt(at, ['restore', 'latest', '--target', directory]),
  restoreToDevice: (at, _revision, image, device) => ({
    ...resticAt(at, ['dump', 'latest', `/${image.name}`]),
    to: device,
  }),
  mount: (at, _revision, image, directory) => ({
    ...resticAt(at, ['mount', directory]),
    path: `${directory}/snapshots/latest/${image.name}`,
  }),
};

function resticAt(at, words) {
  return {
    words: ['restic', '--repo', `${at}/repository`, '--cache-dir', `${at}/cache`, '--quiet', ...words],
    cwd: at,
    env: { RESTIC_PASSWORD: 'benchmark' },
  };
}
