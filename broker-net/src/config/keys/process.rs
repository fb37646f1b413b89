//! The process as a whole.

use std::str::FromStr as _;

use super::super::MAX_SHARDS;
use super::super::cpus::CpuList;
use super::super::value::number;
use super::{Key, Kind, RESTART, Set};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        meaning: "Directory of everything durable; made if missing. Without it `$XDG_DATA_HOME/ringmq`, else \
                  `~/.local/share/ringmq`. Flag `--data-dir`.",
        set: Set::One(|settings, _, value| {
            settings.data_dir = Some(value.into());
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "load_definitions",
        meaning: "Definitions to be imported at every start, before the broker says that it is ready: a file as \
                  `/api/definitions` exports it, or a directory whose `.json` files are taken in the order of their \
                  names. What cannot be defined keeps the broker from starting. A new data directory then has what \
                  they define, and neither guest nor `/`.",
        set: Set::One(|settings, _, value| {
            settings.load_definitions = Some(value.into());
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "shards",
        kind: Kind::Number,
        meaning: "Number of shards, one thread each. Without it one per CPU that the broker may use. Flag `--shards`.",
        set: Set::One(|settings, _, value| {
            number(value, 1, MAX_SHARDS).map(|shards| settings.shards = Some(shards))
        }),
        ..RESTART
    },
    Key {
        name: "cpus",
        meaning: "The only CPUs that threads of the broker run on, such as `0,2-3`. Without it all that the process may use. \
                  Flag `--cpus`.",
        set: Set::One(|settings, _, value| {
            settings.cpus = Some(CpuList::from_str(value).map_err(|error| error.to_string())?);
            Ok(())
        }),
        ..RESTART
    },
];
