//! Memory and disk space.

use super::super::settings::Watermark;
use super::super::value::{bytes, fraction, multiple};
use super::{Key, Kind, RELOAD, Set};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "vm_memory_high_watermark.relative",
        kind: Kind::Fraction,
        default: "0.6",
        meaning: "Beyond this part of the memory that the broker may use (the control group's limit, or the machine's memory), \
                  connections that publish are blocked. 0 blocks them always.",
        set: Set::One(|settings, _, value| {
            fraction(value).map(|part| settings.memory = Watermark::Relative(part))
        }),
        ..RELOAD
    },
    Key {
        name: "vm_memory_high_watermark.absolute",
        kind: Kind::Bytes,
        meaning: "The same as a number of bytes.",
        set: Set::One(|settings, _, value| bytes(value).map(|size| settings.memory = Watermark::Absolute(size))),
        ..RELOAD
    },
    Key {
        name: "total_memory_available_override_value",
        kind: Kind::Bytes,
        meaning: "How much memory the broker may use, if the system does not say.",
        set: Set::One(|settings, _, value| bytes(value).map(|size| settings.total_memory = Some(size))),
        ..RELOAD
    },
    Key {
        name: "disk_free_limit.absolute",
        kind: Kind::Bytes,
        default: "50MB",
        meaning: "With fewer bytes free on the disk of the data directory, connections that publish are blocked.",
        set: Set::One(|settings, _, value| bytes(value).map(|size| settings.disk = Watermark::Absolute(size))),
        ..RELOAD
    },
    Key {
        name: "disk_free_limit.relative",
        kind: Kind::Multiple,
        meaning: "The same as a multiple of the memory that the broker may use: `1.5`.",
        set: Set::One(|settings, _, value| multiple(value).map(|part| settings.disk = Watermark::Relative(part))),
        ..RELOAD
    },
];
