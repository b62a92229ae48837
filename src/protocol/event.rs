//! What a room tells its members: everything it says is one of these events.
//!
//! An event has two encodings, each written in one place: lines of [text] for people, and an
//! object of [JSON](json) for programs, which is read there as well. All text in an event is safe
//! to show (see [`push_safe`](super::text::push_safe)) and, but for a [`Reply`], one line.
//!
//! Events borrow what they tell, so that a line that is said costs no allocation.

pub mod json;
pub mod text;

use std::borrow::Cow;

use super::close::CloseReason;
use super::time::Time;

/// A [`Changes`] names at most this many of each kind.
pub const MAX_NAMED: usize = 5;

/// A list of people has at most this many, however many are there.
pub const MAX_PEOPLE: usize = 500;

/// Integers are smaller, so that any JSON parser has them exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The version of the wire that a [`Hello`] offers.
pub const WIRE_VERSION: u64 = 1;

/// Something that the room tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The answer to a member that has begun to read JSON.
    Hello(Hello<'a>),
    /// Somebody says it.
    Message(Speech<'a>),
    /// Somebody does it (`/me`).
    Action(Speech<'a>),
    /// Somebody says it to one member alone (`/msg`).
    Private {
        /// What is said.
        speech: Speech<'a>,
        /// The reader's name.
        to: Cow<'a, str>,
    },
    /// The operator says it.
    Operator {
        /// What is said.
        text: Cow<'a, str>,
    },
    /// Members have come, gone or changed their names.
    Presence(Changes<'a>),
    /// A command was carried out.
    Reply(Reply<'a>),
    /// What a member asked for was not done.
    Error {
        /// The number of its line.
        n: Option<u64>,
        /// What is wrong, for programs.
        code: ErrorCode,
        /// What is wrong, for people.
        text: Cow<'a, str>,
    },
    /// A name that a member had asked for is its own after all.
    You {
        /// The name.
        name: Cow<'a, str>,
    },
    /// The member is not read for a while.
    Wait,
    /// Anything else that people are told.
    Notice {
        /// What they are told.
        text: Cow<'a, str>,
    },
    /// The connection ends.
    Bye(Bye<'a>),
}

/// Where an event stands in the room's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Increases from event to event.
    pub seq: u64,
    /// When it was said. May go back, as clocks do.
    pub time: Time,
    /// Sent because the reader asked for what was said before.
    pub is_past: bool,
}

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech<'a> {
    /// The member. `None` for the operator, and if the log is from before a restart.
    pub from: Option<u64>,
    /// The number of the member's line, if its lines are counted.
    pub n: Option<u64>,
    /// What the member is called: its name, or its address.
    pub name: Cow<'a, str>,
    /// What is said.
    pub text: Cow<'a, str>,
}

/// Who a reader of JSON is, and how the room stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The version of what follows: [`WIRE_VERSION`].
    pub wire: u64,
    /// The version of the program.
    pub version: Cow<'a, str>,
    /// Names one life of the log.
    pub epoch: Cow<'a, str>,
    /// The last event of the log.
    pub seq: u64,
    /// The reader's id.
    pub you: u64,
    /// The reader's secret, with which it resumes.
    pub token: Cow<'a, str>,
    /// Whether this goes on where another connection ended.
    pub resumed: bool,
    /// How many of the reader's lines the room has acted on.
    pub heard: u64,
    /// How many events that it missed are not told again.
    pub lost: u64,
    /// For how many seconds it can resume after a loss.
    pub hold: u64,
    /// What the reader is called.
    pub name: Cow<'a, str>,
    /// The number of members.
    pub here: u64,
    /// Some of them.
    pub people: Cow<'a, [Person<'a>]>,
    /// The longest line that it may say, in bytes.
    pub max_line: u64,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person<'a> {
    /// Never used again while the log lives.
    pub id: u64,
    /// Its name, or its address.
    pub name: Cow<'a, str>,
}

impl Person<'_> {
    /// The same, with a name of its own.
    pub fn into_owned(self) -> Person<'static> {
        Person {
            id: self.id,
            name: self.name.into_owned().into(),
        }
    }
}

/// A member's new name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename<'a> {
    /// The member.
    pub id: u64,
    /// What it was called.
    pub from: Cow<'a, str>,
    /// What it is called now.
    pub to: Cow<'a, str>,
}

/// Who has come, gone, or changed names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Who has joined.
    pub joined: Several<Person<'a>>,
    /// Who has left.
    pub left: Several<Person<'a>>,
    /// Those of them that the operator has sent away.
    pub kicked: Several<Person<'a>>,
    /// Who is called by another name.
    pub renamed: Several<Rename<'a>>,
    /// The number of members.
    pub here: u64,
}

/// Those who have changed in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Several<T> {
    /// Each of them: at most [`MAX_NAMED`].
    Named(Vec<T>),
    /// Their number.
    Counted(u64),
}

/// What a command has come to. Which of the fields are there depends on the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The number of the member's line.
    pub n: Option<u64>,
    /// The command, without its slash.
    pub to: Cow<'a, str>,
    /// The people there.
    pub name: Option<Cow<'a, str>>,
    /// Who is here.
    pub people: Option<Here<'a>>,
    /// What people are told: lines, the last one without its LF.
    pub text: Option<Cow<'a, str>>,
}

/// Who is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here<'a> {
    /// The number of members.
    pub here: u64,
    /// Some of them.
    pub people: Cow<'a, [Person<'a>]>,
}

/// Why a connection ends, and whether to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    /// The number of the line that asked for it.
    pub n: Option<u64>,
    /// Why, for programs.
    pub code: ByeCode,
    /// How many of the reader's lines the room has acted on, if they are counted.
    pub heard: Option<u64>,
    /// After how many seconds to come back; `None` for never.
    pub again: Option<u64>,
    /// Why, for people.
    pub text: Cow<'a, str>,
}

/// Defines an enum whose variants have names on the wire; a name that is not known is read as
/// the variant `Other`.
macro_rules! codes {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
            /// One that this program does not know.
            Other,
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)* Self::Other];

            /// Its name on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "other",
                }
            }

            fn read(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

codes! {
    /// What is wrong with a line.
    ErrorCode {
        /// It is over the limit.
        TooLong = "too_long",
        /// There is no such command.
        UnknownCommand = "unknown_command",
        /// An argument is missing.
        Usage = "usage",
        /// Only the operator has this command.
        Operators = "operators",
        /// Something stands before the slash of a command.
        Misplaced = "misplaced",
        /// Nobody can have such a name.
        BadName = "bad_name",
        /// Another member has the name.
        NameTaken = "name_taken",
        /// Another connection from the same address has the name: it may be dead, and then the
        /// name is the asking member's.
        NameClaimed = "name_claimed",
        /// The name looks too much like another member's.
        NameAlike = "name_alike",
        /// The name is held for whoever had it.
        NameHeld = "name_held",
        /// Nobody here has the name.
        Nobody = "nobody",
        /// Several have it: it is an address.
        Several = "several",
        /// The asking member itself has it.
        Yourself = "yourself",
        /// The operator has muted the member.
        Muted = "muted",
        /// The command comes too late: it goes before anything else.
        TooLate = "too_late",
        /// The room has a password, and has not heard it.
        PasswordNeeded = "password_needed",
        /// That is not the room's password.
        WrongPassword = "wrong_password",
    }
}

codes! {
    /// Why a connection ends.
    ByeCode {
        /// The member asked for it.
        Quit = "quit",
        /// The operator disconnected the member.
        Kicked = "kicked",
        /// The operator banned the member's address.
        Banned = "banned",
        /// The member said nothing for too long.
        Idle = "idle",
        /// The member did not read.
        Stuck = "stuck",
        /// The member read too slowly.
        Slow = "slow",
        /// The server is short of memory.
        Overload = "overload",
        /// The room is closing.
        Closing = "closing",
        /// Another connection goes on with the session.
        Replaced = "replaced",
        /// The session was resumed just now.
        TooSoon = "too_soon",
        /// The password was not given, or there were too many wrong ones.
        Password = "password",
    }
}

impl ByeCode {
    /// What a member is told that is disconnected for `reason`. `None` if nobody would read
    /// it.
    pub fn of(reason: CloseReason) -> Option<Self> {
        match reason {
            CloseReason::Quit => Some(Self::Quit),
            CloseReason::Kicked => Some(Self::Kicked),
            CloseReason::Banned => Some(Self::Banned),
            CloseReason::Idle => Some(Self::Idle),
            CloseReason::Stuck => Some(Self::Stuck),
            CloseReason::TooSlow => Some(Self::Slow),
            CloseReason::Overload => Some(Self::Overload),
            CloseReason::Shutdown => Some(Self::Closing),
            CloseReason::Replaced => Some(Self::Replaced),
            CloseReason::TooSoon => Some(Self::TooSoon),
            CloseReason::PeerClosed | CloseReason::Lost(_) | CloseReason::WrongProtocol => None,
        }
    }

    /// After how many seconds to come back. `None` for never: somebody means it to end.
    pub fn again(self) -> Option<u64> {
        match self {
            Self::Stuck | Self::Slow | Self::Closing | Self::TooSoon => Some(1),
            Self::Overload => Some(10),
            Self::Quit
            | Self::Kicked
            | Self::Banned
            | Self::Idle
            | Self::Replaced
            | Self::Password
            | Self::Other => None,
        }
    }
}

impl<'a> Reply<'a> {
    /// The reply to `/nick`: the member is called `name` now.
    pub fn nick(name: impl Into<Cow<'a, str>>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::to("nick")
        }
    }

    /// The reply to `/msg` for its sender, if that reads text: `name` was sent it.
    pub fn sent(name: impl Into<Cow<'a, str>>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::to("msg")
        }
    }

    /// The reply to `/who`.
    pub fn who(here: Here<'a>) -> Self {
        Self {
            people: Some(here),
            ..Self::to("who")
        }
    }

    /// A reply of some lines to `command`.
    pub fn lines(command: &'a str, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::to(command)
        }
    }

    /// The reply to `command`: it was carried out.
    pub fn to(command: &'a str) -> Self {
        Self {
            n: None,
            to: command.into(),
            name: None,
            people: None,
            text: None,
        }
    }
}

impl<T> Several<T> {
    /// How many they are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Named(all) => all.len() as u64,
            Self::Counted(count) => *count,
        }
    }
}
