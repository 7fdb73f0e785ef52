/** How much differs between two revisions, in all and by partition; extents come one by one, in order. */
import type { RevisionRow } from '../base/revision-row.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { Extent, Partition } from '../native/types.js';
import type { Style } from './style.js';
import { renderTable } from './table.js';

interface Place {
  readonly name: string;
  readonly partition: Partition | null;
  dataBytes: number;
  zeroBytes: number;
  extentCount: number;
}

export class DiffSummary {
  readonly #places: readonly Place[];
  readonly #outside: Place;
  readonly #total: Place;

  /** `partitions` are those of the newer revision. */
  constructor(partitions: readonly Partition[]) {
    const place = (name: string, partition: Partition | null): Place => {
      return { name, partition, dataBytes: 0, zeroBytes: 0, extentCount: 0 };
    };
    this.#places = partitions.map((partition) => place(nameOf(partition), partition));
    this.#outside = place('outside of partitions', null);
    this.#total = place('total', null);
  }

  add(extent: Extent): void {
    addTo(this.#total, extent, extent.length);
    let insideBytes = 0;
    for (const place of this.#places) {
      const bytes = place.partition === null ? 0 : overlap(place.partition, extent);
      insideBytes += bytes;
      if (bytes > 0) addTo(place, extent, bytes);
    }
    // A logical partition lies within its extended one, so this may exceed the extent.
    const outsideBytes = Math.max(0, extent.length - insideBytes);
    if (outsideBytes > 0) addTo(this.#outside, extent, outsideBytes);
  }

  render(from: RevisionRow, to: RevisionRow, style: Style): string {
    const title = `${from.disk}@${from.revision} → ${to.disk}@${to.revision}`;
    const resized =
      from.sizeBytes === to.sizeBytes
        ? ''
        : `\nThe disk went from ${from.sizeBytes} to ${to.sizeBytes} bytes.`;
    if (this.#total.extentCount === 0) return `${style.bold(title)}\nNothing differs.${resized}`;
    const changed = [...this.#places, this.#outside].filter((place) => place.extentCount > 0);
    const rows = this.#places.length === 0 ? [this.#total] : [...changed, this.#total];
    const table = renderTable<Place>(
      [
        { title: 'WHERE', cell: ({ name }) => name },
        { title: 'CHANGED', align: 'right', cell: (row) => formatBytes(row.dataBytes + row.zeroBytes) },
        { title: 'NOW DATA', align: 'right', cell: ({ dataBytes }) => formatBytes(dataBytes) },
        { title: 'NOW ZEROS', align: 'right', cell: ({ zeroBytes }) => formatBytes(zeroBytes) },
        { title: 'EXTENTS', align: 'right', cell: ({ extentCount }) => String(extentCount) },
      ],
      rows,
      style.bold,
    );
    return `${style.bold(title)}\n${table}${resized}`;
  }
}

function addTo(place: Place, extent: Extent, bytes: number): void {
  if (extent.state === 'data') place.dataBytes += bytes;
  else place.zeroBytes += bytes;
  place.extentCount += 1;
}

function overlap({ offsetBytes, sizeBytes }: Partition, { offset, length }: Extent): number {
  return Math.max(0, Math.min(offsetBytes + sizeBytes, offset + length) - Math.max(offsetBytes, offset));
}

function nameOf({ number, name, fileSystem }: Partition): string {
  const words = [
    number === 0 ? 'disk' : String(number),
    visible(name || fileSystem?.label || ''),
    fileSystem?.kind,
  ];
  return words.filter((word) => word !== undefined && word !== '').join(' ');
}
