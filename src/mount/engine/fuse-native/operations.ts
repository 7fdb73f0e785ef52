/** The requests of the kernel, answered out of the tree. No handler throws: what fails is answered with an error
 *  number and logged, and the mount goes on. Reads of one file run side by side. */
import { constants } from 'node:fs';
import { ImageFile } from '../../image-file.js';
import type { ImageNode, Node } from '../../node.js';
import type { EngineOptions, Served } from '../engine.js';
import { type Attributes, attributesOf } from './attributes.js';
import { DamageLog } from './damage-log.js';
import { EBADF, EINVAL, EIO, EISDIR, ENODATA, ENOENT, ENOTDIR, EROFS, errnoOf } from './errno.js';
import { Handles } from './handles.js';

/** Calls that would write. The kernel answers them itself on a read-only mount; this is the second lock. */
const WRITING_CALLS = [
  'truncate',
  'ftruncate',
  'utimens',
  'chown',
  'chmod',
  'mknod',
  'setxattr',
  'removexattr',
  'write',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const;

const STATFS_BLOCK_BYTES = 65_536;
const UINT32_MAX = 2 ** 32 - 1;

type Reply<T extends unknown[] = []> = (error: number, ...values: T | []) => void;

export class Operations {
  readonly #served: Served;
  readonly #options: EngineOptions;
  readonly #handles = new Handles();
  readonly #damage: DamageLog;

  constructor(served: Served, options: EngineOptions) {
    this.#served = served;
    this.#options = options;
    this.#damage = new DamageLog(served.log);
  }

  /** The table that fuse-native takes. */
  table(): Record<string, (...args: never[]) => void> {
    const refuse = (...args: never[]) => (args.at(-1) as unknown as Reply)(EROFS);
    const getattr = (path: string, reply: Reply<[Attributes]>) => this.#answer(reply, () => this.#stat(path));
    return {
      ...Object.fromEntries(WRITING_CALLS.map((call) => [call, refuse])),
      access: (_path: string, mode: number, reply: Reply) => reply(mode & constants.W_OK ? EROFS : 0),
      statfs: (_path: string, reply: Reply<[object]>) => this.#answer(reply, async () => [this.#statfs()]),
      getattr,
      fgetattr: getattr,
      readdir: (path: string, reply: Reply<[string[], Attributes[]]>) =>
        this.#answer(reply, () => this.#readdir(path)),
      // The mount calls both by name; the package asks whether they are here.
      getxattr: refuse,
      listxattr: refuse,
      readlink: (path: string, reply: Reply<[string]>) => this.#answer(reply, () => this.#readlink(path)),
      open: (path: string, flags: number, reply: Reply<[number]>) =>
        this.#answer(reply, () => this.#open(path, flags)),
      read: (_path: string, handle: number, into: Buffer, length: number, offset: number, reply: Reply) =>
        void this.#read(handle, into.subarray(0, length), offset).then(reply),
      release: (_path: string, handle: number, reply: Reply) =>
        this.#answer(reply, async () => this.#release(handle)),
    };
  }

  /** The value of an extended attribute of what lies at a path. */
  getxattr(path: string, name: string, reply: Reply<[Buffer]>): void {
    void this.#answer(reply, async () => {
      const value = (await this.#xattrs(path))[name];
      if (value === undefined) throw new Refusal(ENODATA);
      return [Buffer.from(value)];
    });
  }

  /** The names of the extended attributes of what lies at a path, each with a zero byte behind it. */
  listxattr(path: string, reply: Reply<[Buffer]>): void {
    void this.#answer(reply, async () => {
      const names = Object.keys(await this.#xattrs(path));
      return [Buffer.from(names.map((name) => `${name}\0`).join(''))];
    });
  }

  async #xattrs(path: string): Promise<Readonly<Record<string, string>>> {
    const node = await this.#find(path);
    return node.kind === 'image' ? node.xattrs : {};
  }

  async #answer<const T extends unknown[]>(reply: Reply<T>, work: () => Promise<T>): Promise<void> {
    let values: T | [];
    let errno = 0;
    try {
      values = await work();
    } catch (error) {
      values = [];
      errno = error instanceof Refusal ? error.errno : errnoOf(error);
      if (errno === EIO) this.#served.log.error({ err: error }, 'a request could not be answered');
    }
    reply(errno, ...values);
  }

  async #find(path: string): Promise<Node> {
    const node = await this.#served.tree.resolve(path);
    if (node === undefined) throw new Refusal(ENOENT);
    return node;
  }

  /** Of what lies at a path, or of an open file where the path is `#<handle>`. The kernel asks for the attributes
   *  of an open file by path too, also when the revision has left the tree. */
  async #stat(path: string): Promise<[Attributes]> {
    const handle = path.startsWith('#') ? Number(path.slice(1)) : undefined;
    const node = handle === undefined ? await this.#served.tree.resolve(path) : undefined;
    if (node !== undefined) return [this.#attributes(node)];
    const file = handle === undefined ? this.#handles.at(path) : this.#handles.get(handle);
    if (file === undefined) throw new Refusal(ENOENT);
    const { content, ino } = file;
    return [attributesOf(content instanceof ImageFile ? content.node : content, ino, this.#options)];
  }

  #attributes(node: Node): Attributes {
    return attributesOf(node, this.#served.tree.inode(node), this.#options);
  }

  async #readdir(path: string): Promise<[string[], Attributes[]]> {
    const node = await this.#find(path);
    if (node.kind !== 'directory' && node.kind !== 'revision') throw new Refusal(ENOTDIR);
    const entries = await this.#served.tree.entries(node);
    const own = this.#attributes(node);
    return [
      ['.', '..', ...entries.keys()],
      [own, own, ...[...entries.values()].map((entry) => this.#attributes(entry))],
    ];
  }

  async #readlink(path: string): Promise<[string]> {
    const node = await this.#find(path);
    if (node.kind !== 'symlink') throw new Refusal(EINVAL);
    return [node.target];
  }

  async #open(path: string, flags: number): Promise<[number]> {
    const writing = constants.O_WRONLY | constants.O_RDWR | constants.O_TRUNC | constants.O_APPEND;
    if (flags & writing) throw new Refusal(EROFS);
    const node = await this.#find(path);
    if (node.kind === 'symlink') throw new Refusal(EINVAL);
    if (node.kind === 'directory' || node.kind === 'revision') throw new Refusal(EISDIR);
    const content = node.kind === 'text' ? node : await this.#openImage(node);
    return [this.#handles.add({ path, ino: this.#served.tree.inode(node), content })];
  }

  async #openImage(node: ImageNode): Promise<ImageFile> {
    return new ImageFile(node, await this.#served.images.acquire(node.disk, node.revision));
  }

  /** The bytes read, or an error number. A short answer means the end of the file to the kernel, so a read that
   *  fails in part fails as a whole; the kernel asks again in smaller pieces. */
  async #read(handle: number, into: Buffer, offset: number): Promise<number> {
    const content = this.#handles.get(handle)?.content;
    if (content === undefined) return EBADF;
    if (!(content instanceof ImageFile)) return content.bytes.subarray(offset).copy(into);
    try {
      return await content.read(into, offset);
    } catch (error) {
      this.#damage.note(content, error);
      return EIO;
    }
  }

  #release(handle: number): [] {
    const content = this.#handles.remove(handle)?.content;
    if (content instanceof ImageFile) content.close();
    return [];
  }

  /** As on any read-only file system: what is stored, and nothing free. */
  #statfs(): object {
    const { revisions, storedBytes } = this.#served.tree.totals();
    return {
      bsize: STATFS_BLOCK_BYTES,
      frsize: STATFS_BLOCK_BYTES,
      blocks: Math.min(Math.ceil(storedBytes / STATFS_BLOCK_BYTES), UINT32_MAX),
      files: Math.min(revisions, UINT32_MAX),
      namemax: 255,
    };
  }
}

/** An answer that is no fault: there is no such entry, or the call does not apply to it. */
class Refusal extends Error {
  constructor(readonly errno: number) {
    super('refused');
  }
}
