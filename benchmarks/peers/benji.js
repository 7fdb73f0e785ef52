import { writeFileSync } from 'node:fs';
import { pythonOf, versionOf } from './program.js';

const VERSION = 'import importlib.metadata as m; print(m.version("benji"))';

/** Benji's blocks lie in `at/repository`, its database too. */
export const benji = {
  name: 'benji',
  program: 'benji',
  version: () => versionOf(pythonOf('benji'), ['-c', VERSION]),
  settings: 'blocks of 4 MiB (its default), zstd 1, SQLite, file storage, no encryption',
  why: 'its default block size is that of RBD objects; a database server would only add to what is measured',
  initialise: (at) => {
    writeFileSync(`${at}/benji.yaml`, configuration(at));
    return [benjiAt(at, ['database-init'])];
  },
  backup: (at, image, revision) =>
    benjiAt(at, ['backup', '--uid', revision, `file:${image.directory}/${image.name}`, 'bench']),
  restoreToFile: (at, revision, directory, image) => restore(at, revision, `${directory}/${image.name}`),
  restoreToDevice: (at, revision, _image, device) => restore(at, revision, device),
};

function restore(at, revision, target) {
  return benjiAt(at, ['restore', '--sparse', '--force', revision, `file:${target}`]);
}

function benjiAt(at, words) {
  return {
    words: ['benji', '--config-file', `${at}/benji.yaml`, '--log-level', 'WARNING', ...words],
    cwd: at,
  };
}

function configuration(at) {
  return `configurationVersion: '1'
databaseEngine: sqlite:///${at}/repository/benji.sqlite
defaultStorage: files
storages:
  - name: files
    module: file
    storageId: 1
    configuration:
      path: ${at}/repository/blocks
      activeTransforms: [zstd]
transforms:
  - name: zstd
    module: zstd
    configuration:
      level: 1
ios:
  - name: file
    module: file
`;
}
