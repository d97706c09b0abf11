//! The settings on the command line and in the environment: clap's arguments out of the
//! definitions, and the values that it found.

use clap::builder::{
    FalseyValueParser, PathBufValueParser, PossibleValue, PossibleValuesParser, StringValueParser,
    TypedValueParser,
};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::Settings;
use super::definitions::{Kind, SETTINGS, Setting};
use super::merge::{Given, ValueOrigin, merge};

/// The argument that has no flag.
const PATH: &str = "path";

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let path = Arg::new(PATH)
            .value_name("PATH")
            .value_parser(PathBufValueParser::new())
            .help("A tar archive or a directory [default: the built-in handbook]");
        command.arg(path).args(SETTINGS.iter().map(argument))
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
        merged.check().map_err(refused)?;
        Ok(Settings { path: matches.get_one(PATH).cloned(), ..merged.settings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Settings::from_arg_matches(matches)?;
        Ok(())
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
