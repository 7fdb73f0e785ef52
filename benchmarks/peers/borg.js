import { versionOf } from './program.js';

/** borg's repository lies in `at/repository`, its caches beside it. */
export const borg = {
  name: 'borg',
  program: 'borg',
  version: () => versionOf('borg', ['--version']),
  settings:
    '--encryption none, --compression zstd,1, --chunker-params fixed,4194304, --sparse, --files-cache disabled',
  why: 'its manual asks for fixed 4 MiB chunks for disk images, and only these know holes',
  initialise: (at) => [borgAt(at, ['init', '--encryption', 'none', 'repository'])],
  backup: (at, image, revision) => {
    const chunks = ['--compression', 'zstd,1', '--chunker-params', 'fixed,4194304', '--sparse'];
    const words = [
      'create',
      ...chunks,
      '--files-cache',
      'disabled',
      `${at}/repository::${revision}`,
      image.name,
    ];
    return { ...borgAt(at, words), cwd: image.directory };
  },
  restoreToFile: (at, revision, directory) => ({
    ...borgAt(at, ['extract', '--sparse', `${at}/repository::${revision}`]),
    cwd: directory,
  }),
  restoreToDevice: (at, revision, image, device) => ({
    ...borgAt(at, ['extract', '--stdout', `${at}/repository::${revision}`, image.name]),
    to: device,
  }),
  mount: (at, revision, image, directory) => ({
    ...borgAt(at, ['mount', '--foreground', `${at}/repository::${revision}`, directory]),
    path: `${directory}/${image.name}`,
  }),
};

function borgAt(at, words) {
  return {
    words: ['borg', ...words],
    cwd: at,
    env: {
      BORG_BASE_DIR: `${at}/base`,
      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
      BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
    },
  };
}
