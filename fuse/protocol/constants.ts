/**
 * Names and numbers of the Linux FUSE protocol, verbatim from include/uapi/linux/fuse.h (7.45).
 * All structures are little-endian and padded to 8 bytes.
 */

export const FUSE_KERNEL_VERSION = 7
export const FUSE_KERNEL_MINOR_VERSION = 45
export const FUSE_ROOT_ID = 1

export const FUSE_LOOKUP = 1
export const FUSE_FORGET = 2
export const FUSE_GETATTR = 3
export const FUSE_SETATTR = 4
export const FUSE_READLINK = 5
export const FUSE_SYMLINK = 6
export const FUSE_MKNOD = 8
export const FUSE_MKDIR = 9
export const FUSE_UNLINK = 10
export const FUSE_RMDIR = 11
export const FUSE_RENAME = 12
export const FUSE_LINK = 13
export const FUSE_OPEN = 14
export const FUSE_READ = 15
export const FUSE_WRITE = 16
export const FUSE_STATFS = 17
export const FUSE_RELEASE = 18
export const FUSE_FSYNC = 20
export const FUSE_SETXATTR = 21
export const FUSE_GETXATTR = 22
export const FUSE_LISTXATTR = 23
export const FUSE_REMOVEXATTR = 24
export const FUSE_FLUSH = 25
export const FUSE_INIT = 26
export const FUSE_OPENDIR = 27
export const FUSE_READDIR = 28
export const FUSE_RELEASEDIR = 29
export const FUSE_FSYNCDIR = 30
export const FUSE_CREATE = 35
export const FUSE_INTERRUPT = 36
export const FUSE_DESTROY = 38
export const FUSE_BATCH_FORGET = 42
export const FUSE_FALLOCATE = 43
export const FUSE_READDIRPLUS = 44
export const FUSE_RENAME2 = 45
export const FUSE_LSEEK = 46
export const FUSE_SYNCFS = 50

/** Sizes in bytes of the fixed structures. */
export const FUSE_IN_HEADER_SIZE = 40
export const FUSE_OUT_HEADER_SIZE = 16
export const FUSE_WRITE_IN_SIZE = 40
export const FUSE_ATTR_SIZE = 88
export const FUSE_ENTRY_OUT_SIZE = 128
export const FUSE_ATTR_OUT_SIZE = 104
export const FUSE_OPEN_OUT_SIZE = 16
export const FUSE_INIT_OUT_SIZE = 64
export const FUSE_COMPAT_22_INIT_OUT_SIZE = 24
export const FUSE_STATFS_OUT_SIZE = 80
export const FUSE_NAME_OFFSET = 24
export const FUSE_NAME_OFFSET_DIRENTPLUS = 152

/** INIT flags. From bit 32 on they travel in `flags2`; see `FUSE_INIT_EXT`. */
export const FUSE_ASYNC_READ = 1n << 0n
export const FUSE_POSIX_LOCKS = 1n << 1n
export const FUSE_ATOMIC_O_TRUNC = 1n << 3n
export const FUSE_EXPORT_SUPPORT = 1n << 4n
export const FUSE_BIG_WRITES = 1n << 5n
export const FUSE_DONT_MASK = 1n << 6n
export const FUSE_FLOCK_LOCKS = 1n << 10n
export const FUSE_AUTO_INVAL_DATA = 1n << 12n
export const FUSE_DO_READDIRPLUS = 1n << 13n
export const FUSE_READDIRPLUS_AUTO = 1n << 14n
export const FUSE_ASYNC_DIO = 1n << 15n
export const FUSE_WRITEBACK_CACHE = 1n << 16n
export const FUSE_PARALLEL_DIROPS = 1n << 18n
export const FUSE_HANDLE_KILLPRIV = 1n << 19n
export const FUSE_POSIX_ACL = 1n << 20n
export const FUSE_ABORT_ERROR = 1n << 21n
export const FUSE_MAX_PAGES = 1n << 22n
export const FUSE_CACHE_SYMLINKS = 1n << 23n
export const FUSE_EXPLICIT_INVAL_DATA = 1n << 25n
export const FUSE_HANDLE_KILLPRIV_V2 = 1n << 28n
export const FUSE_SETXATTR_EXT = 1n << 29n
export const FUSE_INIT_EXT = 1n << 30n
export const FUSE_HAS_EXPIRE_ONLY = 1n << 35n
export const FUSE_DIRECT_IO_ALLOW_MMAP = 1n << 36n
export const FUSE_HAS_RESEND = 1n << 39n

/** In the `unique` of a request that the kernel sends again: bit 63, so bit 31 of the upper half. */
export const FUSE_UNIQUE_RESEND_HIGH = 0x8000_0000

export const FUSE_GETATTR_FH = 1

export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_LOCKOWNER = 1 << 9
export const FATTR_CTIME = 1 << 10
export const FATTR_KILL_SUIDGID = 1 << 11

/** The bits of open(2)'s flags that hold O_RDONLY, O_WRONLY or O_RDWR. */
export const O_ACCMODE = 0o3

export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
/** Closing it need not be told (since 7.35). */
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_CACHE_DIR = 1 << 3

/** In `open_flags` of OPEN and CREATE: clear setuid and setgid, the truncating caller lacks CAP_FSETID. */
export const FUSE_OPEN_KILL_SUIDGID = 1 << 0

export const FUSE_WRITE_CACHE = 1 << 0
export const FUSE_WRITE_LOCKOWNER = 1 << 1
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2

export const FUSE_FSYNC_FDATASYNC = 1 << 0

export const RENAME_NOREPLACE = 1 << 0
export const RENAME_EXCHANGE = 1 << 1

export const FALLOC_FL_KEEP_SIZE = 0x01
export const FALLOC_FL_PUNCH_HOLE = 0x02
export const FALLOC_FL_ZERO_RANGE = 0x10

export const SEEK_DATA = 3
export const SEEK_HOLE = 4

/** Notification codes: in the `error` field of an out header whose `unique` is 0. */
export const FUSE_NOTIFY_INVAL_INODE = 2
export const FUSE_NOTIFY_INVAL_ENTRY = 3
export const FUSE_NOTIFY_STORE = 4
export const FUSE_NOTIFY_RESEND = 7
export const FUSE_NOTIFY_INC_EPOCH = 8
/** First minor version that knows FUSE_NOTIFY_INC_EPOCH. */
export const FUSE_INC_EPOCH_MINOR = 44

/** Bytes; the kernel's FUSE_NAME_MAX is 1024, but POSIX programs expect 255. */
export const nameBytesMax = 255
/** Bytes of data in one READ or WRITE: 256 pages. */
export const maxWriteBytes = 1 << 20
export const maxPages = 256
/** read(2) on the device fails with EINVAL for less than max(8192, max_write + headers). */
export const requestBufferBytes = maxWriteBytes + 4096
