import { versionOf } from './program.js';

/** One qcow2 file for each revision, in `at/repository`. It compares nothing with an earlier image. */
export const qemuImg = {
  name: 'qemu-img',
  program: 'qemu-img',
  version: () => versionOf('qemu-img', ['--version']),
  settings: 'convert -O qcow2 -c -o compression_type=zstd -m 16 -W',
  why: 'the level of its zstd cannot be chosen; as many requests at once as it allows, in any order',
  isFullEachTime: true,
  initialise: () => [],
  backup: (at, image, revision) => ({
    words: convert(
      ['-f', 'raw', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd'],
      `${image.directory}/${image.name}`,
      qcow2At(at, revision),
    ),
  }),
  restoreToFile: (at, revision, directory, image) => ({
    words: convert(['-f', 'qcow2', '-O', 'raw'], qcow2At(at, revision), `${directory}/${image.name}`),
  }),
  restoreToDevice: (at, revision, _image, device) => ({
    words: convert(['-f', 'qcow2', '-O', 'raw', '-n', '--target-is-zero'], qcow2At(at, revision), device),
  }),
  mount: (at, revision, image, directory) => ({
    words: [
      'qemu-storage-daemon',
      '--blockdev',
      `driver=qcow2,node-name=image,read-only=on,file.driver=file,file.filename=${qcow2At(at, revision)}`,
      '--export',
      `fuse,id=export,node-name=image,mountpoint=${directory}/${image.name},allow-other=off`,
    ],
    path: `${directory}/${image.name}`,
    isFileMountpoint: true,
  }),
};

function convert(formats, from, to) {
  return ['qemu-img', 'convert', ...formats, '-m', '16', '-W', from, to];
}

function qcow2At(at, revision) {
  return `${at}/repository/${revision}.qcow2`;
}
