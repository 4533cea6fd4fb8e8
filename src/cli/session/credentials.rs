//! Tokens of one run: where each is, and the client that sends them.

use camino::Utf8PathBuf;

use crate::cli::session::{Session, variable};
use crate::cli::token::read_token;
use crate::desired::{CredentialRef, DesiredState};
use crate::fetch::client::{Client, Credentials, Settings};

/// The public GitHub API, for which a token is taken from the usual places.
const GITHUB: &str = "api.github.com";

/// A host and the token for it, or why there is none.
pub(super) type Token = (String, Result<String, String>);

impl Session {
    /// The client, with the tokens that the desired state refers to. One that cannot be had fails what is asked of
    /// its host, and nothing else.
    pub fn client(&self, desired: &DesiredState) -> Client {
        let mut credentials = Credentials::default();
        for (host, token) in self.tokens(desired) {
            match token {
                Ok(token) => credentials.add(&host, &token),
                Err(why) => credentials.lacks(&host, &why),
            }
        }
        let settings = Settings {
            roots: self.environment.roots,
            backoff: self.backoff,
            ..Settings::default()
        };
        Client::new(credentials, settings, self.now)
    }

    /// Every token that the desired state refers to, and the usual one where there is any.
    pub fn tokens(&self, desired: &DesiredState) -> Vec<Token> {
        let usual = self.usual_token().filter(|_| !desired.auth.contains_key(GITHUB));
        let usual = usual.map(|token| (GITHUB.to_owned(), token));
        let named =
            desired.auth.iter().map(|(host, named)| (host.clone(), self.token(host, named)));
        usual.into_iter().chain(named).collect()
    }

    fn usual_token(&self) -> Option<Result<String, String>> {
        let file = self.credential("github-token").filter(|file| file.exists());
        let token = match file {
            Some(file) => read_token(&file).map_err(|error| error.message().to_owned()),
            None => Ok(self.environment.github_token.clone()?),
        };
        Some(token).filter(|token| !token.as_ref().is_ok_and(|token| token.trim().is_empty()))
    }

    fn token(&self, host: &str, named: &CredentialRef) -> Result<String, String> {
        let read = |path| {
            read_token(path).map_err(|error| self.of_this_machine(error).message().to_owned())
        };
        match named {
            CredentialRef::File(path) => read(path),
            CredentialRef::Env(name) => variable(name).ok_or_else(|| {
                format!("the token for {host} should be in ${name}, which is not set")
            }),
            CredentialRef::Credential(name) => {
                let file = self.credential(name).ok_or_else(|| {
                    format!(
                        "the token for {host} should be the systemd credential `{name}`, but \
                         $CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit"
                    )
                })?;
                read(&file)
            }
        }
    }

    fn credential(&self, name: &str) -> Option<Utf8PathBuf> {
        self.environment.credentials_directory.as_ref().map(|directory| directory.join(name))
    }
}
