/** A YAML file as checked values. What is wrong is said with its line, and a key that nobody knows with the one that was
 *  probably meant. */
import { createRequire } from 'node:module';
import type { LineCounter, YAMLMap } from 'yaml';
import { CairnError } from '../base/errors.js';
import { nearest } from '../base/nearest.js';
import { visible } from '../base/visible.js';

type Yaml = typeof import('yaml');

/** The parser, loaded with the first file: most commands read none, and to load it takes longer than what they do. */
function yaml(): Yaml {
  return createRequire(import.meta.url)('yaml') as Yaml;
}

/** A value and where it stands. */
export interface Entry {
  readonly key: string;
  readonly value: unknown;
  /** @throws {CairnError} CONFIG_INVALID with the line of the key */
  fail(what: string, hint?: string): never;
}

export class Document {
  readonly #file: string;
  readonly #yaml = yaml();
  readonly #lines: LineCounter = new this.#yaml.LineCounter();
  readonly #root: YAMLMap | null;

  /** @throws {CairnError} CONFIG_INVALID unless `text` is keys and values, or nothing */
  constructor(text: string, file: string) {
    this.#file = file;
    const document = this.#yaml.parseDocument(text, { lineCounter: this.#lines, uniqueKeys: true });
    const broken = document.errors[0];
    if (broken !== undefined) this.#fail(broken.pos[0], `this is not YAML: ${broken.message.split('\n')[0]}`);
    const root = document.contents;
    if (root !== null && !this.#yaml.isMap(root)) {
      this.#fail(root.range?.[0], 'the file must hold keys and values, such as “repository: <dir>”.');
    }
    this.#root = root;
  }

  /** What stands at the top.
   *  @throws {CairnError} CONFIG_INVALID for a key that is not in `known` */
  entries(known: readonly string[]): Entry[] {
    return this.#root === null ? [] : this.#entriesOf(this.#root, known);
  }

  /** What stands under an entry, which must be keys and values; any keys where `known` is null.
   *  @throws {CairnError} CONFIG_INVALID */
  under(entry: Entry, known: readonly string[] | null): Entry[] {
    if (!this.#yaml.isMap(entry.value))
      return entry.fail(`“${visible(entry.key)}” must hold keys and values.`);
    return this.#entriesOf(entry.value, known);
  }

  /** The items of the list under an entry, each under the name of the list and with a line of its own.
   *  @throws {CairnError} CONFIG_INVALID */
  items(entry: Entry): Entry[] {
    if (!this.#yaml.isSeq(entry.value)) return entry.fail(`“${visible(entry.key)}” must be a list.`);
    return entry.value.items.map((item) => {
      const offset = (item as { range?: [number, number, number] } | null)?.range?.[0];
      const fail = (what: string, hint?: string): never => this.#fail(offset, what, hint);
      return { key: entry.key, value: this.#yaml.isScalar(item) ? item.value : item, fail };
    });
  }

  #entriesOf(map: YAMLMap, known: readonly string[] | null): Entry[] {
    return map.items.map(({ key: node, value }) => {
      const key = this.#yaml.isScalar(node) ? String(node.value) : '';
      const offset = (node as { range?: [number, number, number] }).range?.[0];
      const fail = (what: string, hint?: string): never => this.#fail(offset, what, hint);
      if (known !== null && !known.includes(key)) fail(...unknownKey(key, known));
      return { key, value: this.#yaml.isScalar(value) ? value.value : value, fail };
    });
  }

  #fail(offset: number | undefined, what: string, hint?: string): never {
    const line = offset === undefined ? 1 : this.#lines.linePos(offset).line;
    throw new CairnError('CONFIG_INVALID', `${visible(this.#file)}, line ${line}: ${what}`, { hint });
  }
}

function unknownKey(name: string, known: readonly string[]): [what: string, hint: string] {
  const meant = nearest(name, known);
  const all = `Known keys: ${known.join(', ')}.`;
  return [
    `“${visible(name)}” is not a known key.`,
    meant === undefined ? all : `Did you mean “${meant}”? ${all}`,
  ];
}
