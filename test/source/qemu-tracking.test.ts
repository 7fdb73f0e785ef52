/** Which bitmap is believed, without a machine. */
import { expect, test } from 'vitest';
import { isRevisionId, type RevisionId } from '../../src/base/ids.js';
import type { MachineDisk } from '../../src/source/qemu/machine-disk.js';
import { bitmapNote, trackingOf } from '../../src/source/qemu/tracking.js';

const OURS = 'cairn-0123abcd-89ef4567-0123456789abcdef';

function machineDisk(name: string): MachineDisk {
  const bitmap = {
    name,
    isRecording: true,
    isBusy: false,
    isInconsistent: false,
    isPersistent: true,
    granularityBytes: 65536,
  };
  return { node: 'd0', format: 'qcow2', image: '/d0', sizeBytes: 1, isReadOnly: false, bitmaps: [bitmap] };
}

function newest(name: string) {
  const revision = '20261126T000000Z-0000';
  if (!isRevisionId(revision)) throw new Error('no id');
  const bitmap = { name, persistent: true, granularityBytes: 65536 };
  return { revision: revision as RevisionId, sizeBytes: 1, source: { kind: 'qemu', bitmap } };
}

test('the bitmap that the newest revision names is believed', () => {
  const tracking = trackingOf(machineDisk(OURS), newest(OURS), null);
  expect(tracking).toMatchObject({ from: '20261126T000000Z-0000', bitmap: OURS });
});

test.each(['libvirt-checkpoint', 'cairn-0123abcd-89ef4567-changes', `${OURS}0`, 'Cairn', ''])(
  'a manifest that names the bitmap %j of somebody else is not followed',
  (name) => {
    expect(bitmapNote(newest(name).source)).toBeNull();
    expect(trackingOf(machineDisk(name), newest(name), null)).toMatchObject({ from: null });
  },
);
