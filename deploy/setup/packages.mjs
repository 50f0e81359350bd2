/** What set-up needs from Debian, and why. A package whose commands and files are there is left alone. */
export const runtimePackages = [
  { name: 'nftables', commands: ['nft'], why: 'programs the load balancer in the kernel' },
  { name: 'iproute2', commands: ['ip'], why: 'makes the overlay devices, routes and rules of a node' },
  { name: 'conntrack', commands: ['conntrack'], why: 'clears UDP flows to endpoints that are gone' },
  { name: 'gcc', commands: ['cc'], why: 'compiles the container launcher' },
  {
    name: 'libc6-dev',
    commands: [],
    files: ['/usr/include/stdio.h'],
    why: 'the C library the launcher is linked with',
  },
  {
    name: 'linux-libc-dev',
    commands: [],
    files: ['/usr/include/linux/mount.h'],
    why: 'kernel interfaces for the launcher',
  },
  {
    name: 'libisal-dev',
    commands: [],
    files: ['/usr/include/isa-l/igzip_lib.h'],
    why: 'unpacks image layers in gzip, twice as fast as zlib',
  },
  {
    name: 'libzstd-dev',
    commands: [],
    files: ['/usr/include/zstd.h'],
    why: 'unpacks image layers in zstd',
  },
  { name: 'mount', commands: ['mount', 'umount'], why: 'mounts volumes that name a file system' },
  { name: 'make', commands: ['make'], why: 'builds the C programs' },
  {
    name: 'util-linux',
    commands: ['nsenter'],
    why: 'starts the nodes of a local cluster in their namespaces',
  },
];

export const testPackages = [
  {
    name: 'busybox-static',
    commands: ['busybox'],
    why: 'the smallest root file system to test containers with',
  },
  {
    name: 'redis-tools',
    commands: ['redis-cli'],
    why: 'Redis and its libraries, for the telemetry tests (no service)',
  },
  {
    name: 'skopeo',
    commands: ['skopeo'],
    why: 'pushes images to a registry as other tools write them',
  },
  {
    name: 'qemu-system-x86',
    commands: ['qemu-system-x86_64'],
    why: 'boots a kernel with cgroup v2 alone, to run the container tests there',
  },
  { name: 'procps', commands: ['ps'], why: 'lets tests see that nothing is left behind' },
  { name: 'curl', commands: ['curl'], why: 'a plain HTTP client inside test namespaces' },
];

/**
 * Programs only tests run. They are unpacked into build/tools and never installed as services. `dependencyOf` names a
 * package whose first dependency is the one to unpack: the current kernel has its version in its name.
 */
export const testTools = [
  {
    command: 'docker',
    preferPath: true,
    debianPackages: ['docker-cli', 'docker.io'],
    programs: ['usr/bin/docker'],
  },
  {
    command: 'docker-registry',
    preferPath: true,
    debianPackages: ['docker-registry'],
    programs: ['usr/bin/docker-registry'],
  },
  {
    command: 'redis-server',
    preferPath: true,
    debianPackages: ['redis-server', 'redis-tools'],
    programs: ['usr/bin/redis-server', 'usr/bin/redis-check-rdb'],
  },
  {
    command: 'vmlinuz-cloud',
    preferPath: false,
    dependencyOf: 'linux-image-cloud-amd64',
    debianPackages: [],
    programs: ['boot/vmlinuz-*'],
  },
  {
    command: 'crun',
    preferPath: false,
    ownLibraries: true,
    debianPackages: ['crun', 'libyajl2'],
    programs: ['usr/bin/crun'],
  },
  {
    command: 'runc',
    preferPath: false,
    debianPackages: ['runc'],
    programs: ['usr/sbin/runc'],
  },
  {
    command: 'podman',
    preferPath: false,
    ownLibraries: true,
    debianPackages: [
      'podman',
      'conmon',
      'libsubid4',
      'libgpgme11',
      'libassuan0',
      'libdevmapper1.02.1',
      'libglib2.0-0',
      'golang-github-containers-image',
    ],
    programs: ['usr/bin/podman'],
  },
];

/** What `npm run bench` measures itself against; unpacked beside each other with their libraries, never installed. */
export const benchTools = [
  {
    command: 'dockerd',
    preferPath: false,
    debianPackages: ['docker.io', 'containerd', 'runc', 'libdevmapper1.02.1'],
    programs: ['usr/sbin/dockerd'],
  },
  {
    command: 'etcd',
    preferPath: false,
    debianPackages: ['etcd-server'],
    programs: ['usr/bin/etcd'],
  },
];

export const benchPackages = [
  { name: 'iptables', commands: ['iptables'], why: "dockerd's network, inside the bench's own namespace" },
];
