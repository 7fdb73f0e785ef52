/** Standard input as a source. */
import { isatty } from 'node:tty';
import { CairnError } from '../base/errors.js';
import type { OpenSource, Source, SourceDescription } from './source.js';

export class StreamSource implements Source {
  readonly spec = 'stream:-';
  readonly repeatable = false;
  readonly #sizeBytes: number | null;

  /** With `sizeBytes` exactly that much must come; with null the stream is read to its end. */
  constructor(sizeBytes: number | null) {
    this.#sizeBytes = sizeBytes;
  }

  async inspect(): Promise<SourceDescription> {
    if (isatty(0)) {
      throw new CairnError('USAGE', 'The source stream:- is standard input, which is a terminal here.', {
        hint: 'Pipe an image into it: … | cairn backup <disk> --source stream:- --size unknown',
      });
    }
    return { spec: this.spec, kind: 'stream', sizeBytes: this.#sizeBytes };
  }

  async open(): Promise<OpenSource> {
    const native = this.#sizeBytes === null ? { fd: 0 } : { fd: 0, sizeBytes: this.#sizeBytes };
    return { native, consistency: 'auto', close: async () => {} };
  }
}
