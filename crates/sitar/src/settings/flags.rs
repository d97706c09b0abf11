//! The settings on the command line and in the environment: clap's arguments out of the
//! definitions, and the values that it found.

use std::path::PathBuf;

use clap::builder::{
    FalseyValueParser, PathBufValueParser, PossibleValue, PossibleValuesParser, Resettable,
    StringValueParser, TypedValueParser,
};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::definitions::{Kind, SETTINGS, Setting};
use super::merge::{Given, ValueOrigin, merge};
use super::{ConfigFile, Settings, domain};
use crate::config::FLAGS;

/// The argument that has no flag.
const PATH: &str = "path";
/// The flag that has no variable.
const CONFIG: &str = "config";
/// The settings that concern one site or its addresses, and the keys of a configuration file that
/// say the same.
pub(crate) const IN_FILE: &[(&str, &str)] = &[
    ("listen", "'address' of [[listen]]"),
    ("tls-cert", "'certificate' of [[site]] or [server]"),
    ("tls-key", "'certificate' of [[site]] or [server]"),
    ("domain", "'hosts' of [[site]]"),
    ("listen-http", "'redirect' of [[listen]]"),
    ("acme-staging", "'directory' of [acme]"),
    ("acme-directory", "'directory' of [acme]"),
    ("acme-ca", "'ca' of [acme]"),
    ("acme-agree-tos", "'agree_tos' of [acme]"),
    ("acme-contact", "'contact' of [acme]"),
    ("acme-eab-kid", "'eab' of [acme]"),
    ("acme-eab-key-file", "'eab' of [acme]"),
    ("acme-profile", "'profile' of [acme]"),
    ("acme-dns-command", "'dns_command' of [acme]"),
    ("prefix", "'prefix' of [[site]]"),
    ("follow-links", "'follow_links' of [[site]]"),
    ("serve-config-files", "'serve_config_files' of [[site]]"),
    ("listing", "'listing' of [[site]]"),
    ("no-watch", "'watch' of [[site]]"),
    ("poll", "'poll' of [[site]]"),
    ("access-log", "'access' of [log]"),
    ("log-format", "'format' of [log]"),
    ("log-events", "'events' of [log]"),
];

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let path = Arg::new(PATH)
            .value_name("PATH")
            .value_parser(PathBufValueParser::new())
            .help("A tar archive or a directory [default: the built-in handbook]");
        let config =
            Arg::new(CONFIG).long(CONFIG).value_name("FILE").value_parser(PathBufValueParser::new()).help(
                "A configuration file: several sites, by their hosts. It takes the place of PATH and of the \
                 flags for one site; `sitar config init` writes one",
            );
        command.arg(path).arg(config).args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Settings::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Settings, clap::Error> {
        let given: Vec<Given> = SETTINGS.iter().filter_map(|setting| given(setting, matches)).collect();
        let refused = |why| clap::Error::raw(ErrorKind::ValueValidation, why);
        let merged = merge(&given).map_err(refused)?;
        let path: Option<PathBuf> = matches.get_one(PATH).cloned();
        if let Some(file) = matches.get_one::<PathBuf>(CONFIG) {
            if path.is_some() {
                let what =
                    "PATH cannot be used with a configuration file, which has 'root' of [[site]] for it";
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
            }
            // Rules between settings are checked when those of the file are known.
            let config =
                ConfigFile { path: file.clone(), given: beside_file(given)?, port: None, text: None };
            return Ok(Settings { config: Some(config), ..merged.settings });
        }
        merged.check().map_err(refused)?;
        if !merged.settings.domain.is_empty() {
            let missing = |why| clap::Error::raw(ErrorKind::MissingRequiredArgument, why);
            let text = domain::file(&merged.settings, path.as_deref()).map_err(missing)?;
            let is_of_file = |given: &Given| IN_FILE.iter().all(|(name, _)| *name != given.name);
            let given = given.into_iter().filter(is_of_file).collect();
            let config = ConfigFile { path: FLAGS.into(), given, port: None, text: Some(text) };
            return Ok(Settings { config: Some(config), ..merged.settings });
        }
        Ok(Settings { path, ..merged.settings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Settings::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `[FILE]` and the flags of `sitar serve` that go with `--config`.
impl Args for ConfigFile {
    fn augment_args(command: Command) -> Command {
        let path = Arg::new(PATH)
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .default_value(crate::config::DEFAULT_FILE)
            .help("The configuration file");
        let is_in_file = |setting: &Setting| IN_FILE.iter().any(|(name, _)| *name == setting.name);
        // Those that are refused are known all the same: for their variables.
        // The file is in the place of the defaults.
        let known = |setting| argument(setting).hide(is_in_file(setting)).default_value(Resettable::Reset);
        let arguments = SETTINGS.iter().map(known);
        command.arg(path).args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ConfigFile::augment_args(command)
    }
}

impl FromArgMatches for ConfigFile {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ConfigFile, clap::Error> {
        let given: Vec<Given> = SETTINGS.iter().filter_map(|setting| given(setting, matches)).collect();
        merge(&given).map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why))?;
        let path = matches.get_one(PATH).cloned().unwrap_or_default();
        Ok(ConfigFile { path, given: beside_file(given)?, port: None, text: None })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ConfigFile::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Refuses what only a configuration file may say where there is one.
fn beside_file(given: Vec<Given>) -> Result<Vec<Given>, clap::Error> {
    let refused = given.iter().find_map(|given| {
        let (name, key) = IN_FILE.iter().find(|(name, _)| *name == given.name)?;
        let setting = SETTINGS.iter().find(|setting| setting.name == *name)?;
        Some(match given.origin {
            ValueOrigin::Variable => {
                let variable = setting.variable;
                format!("{variable} is set, and cannot be used with a configuration file, which has {key} for it; unset {variable}")
            }
            _ => format!("--{name} cannot be used with a configuration file, which has {key} for it"),
        })
    });
    match refused {
        Some(what) => Err(clap::Error::raw(ErrorKind::ArgumentConflict, what)),
        None => Ok(given),
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.name).long(setting.name).env(setting.variable).help(setting.help);
    let argument = match setting.kind {
        Kind::Switch => {
            return argument.action(ArgAction::SetTrue).value_parser(FalseyValueParser::new());
        }
        Kind::Word(words) => {
            let words = words().into_iter().map(|(word, meaning)| PossibleValue::new(word).help(meaning));
            argument.value_parser(PossibleValuesParser::new(words))
        }
        Kind::Text | Kind::Any => argument.value_parser(checked(setting)),
        Kind::List => argument.action(ArgAction::Append).value_delimiter(',').value_parser(checked(setting)),
        Kind::Files => argument.action(ArgAction::Append).value_parser(PathBufValueParser::new()),
    };
    let argument = argument.value_name(setting.value);
    match setting.default {
        Some(default) => argument.default_value(default),
        None => argument,
    }
}

/// Refuses a bad value where clap can show it together with the usage.
fn checked(setting: &'static Setting) -> impl TypedValueParser<Value = String> {
    StringValueParser::new()
        .try_map(|text| (setting.set)(&mut Settings::default(), std::ffi::OsStr::new(&text)).map(|()| text))
}

fn given(setting: &Setting, matches: &ArgMatches) -> Option<Given> {
    let origin = match matches.value_source(setting.name)? {
        ValueSource::CommandLine => ValueOrigin::Flag,
        ValueSource::EnvVariable => ValueOrigin::Variable,
        _ => return None,
    };
    let values = matches.get_raw(setting.name)?.map(ToOwned::to_owned).collect();
    Some(Given { name: setting.name, origin, values })
}
