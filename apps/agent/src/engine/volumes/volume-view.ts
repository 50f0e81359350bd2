/** Volumes as Docker shows them. */
import { rfc3339Nano } from '#libs/docker-api';
import type { LocalVolume } from '#libs/runtime';

/** What Docker marks a volume with that was made without a name. */
const anonymousLabel = 'com.docker.volume.anonymous';

export function volumeLabels(volume: LocalVolume): Record<string, string> {
  return volume.anonymous ? { ...volume.labels, [anonymousLabel]: '' } : volume.labels;
}

export function presentVolume(
  volume: LocalVolume,
  usage?: { bytes: number; users: number },
): Record<string, unknown> {
  const labels = volumeLabels(volume);
  return {
    CreatedAt: rfc3339Nano(Math.floor(volume.createdAtMs / 1_000) * 1_000),
    Driver: 'local',
    Labels: Object.keys(labels).length === 0 ? null : labels,
    Mountpoint: volume.source,
    Name: volume.name,
    Options: volume.options ?? null,
    Scope: 'local',
    ...(usage === undefined ? {} : { UsageData: { RefCount: usage.users, Size: usage.bytes } }),
  };
}
