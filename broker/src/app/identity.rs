//! Hands the authenticated caller to each dialect in its own words.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use berth_core::ids::TenantId;
use berth_runtime::auth::Identity;
use tonic::Status;

use crate::dialects::connect;
use crate::dialects::livy;
use crate::dialects::livy::refusal::Refusal;

struct Known {
    user: String,
    tenant: Option<TenantId>,
}

/// The caller, if somebody was named; an error if their tenant is none.
fn known(request: &Request) -> Result<Option<Known>, String> {
    let Some(identity) = request.extensions().get::<Identity>() else {
        return Ok(None);
    };
    let Some(user) = identity.user.clone() else {
        return Ok(None);
    };
    let wrong =
        |error| format!("the tenant of user {user} is not a tenant's name: {error}; mend the token file");
    let tenant = identity.tenant.as_deref().map(str::parse).transpose();
    let tenant = tenant.map_err(wrong)?;
    Ok(Some(Known { user, tenant }))
}

/// For Spark Connect.
pub(super) async fn connect(mut request: Request, next: Next) -> Response {
    match known(&request) {
        Err(reason) => return Status::permission_denied(reason).into_http(),
        Ok(None) => {}
        Ok(Some(Known { user, tenant })) => {
            request
                .extensions_mut()
                .insert(connect::Identity { user, tenant });
        }
    }
    next.run(request).await
}

/// For Livy.
pub(super) async fn livy(mut request: Request, next: Next) -> Response {
    match known(&request) {
        Err(reason) => return Refusal::Rejected(reason).into_response(),
        Ok(None) => {}
        Ok(Some(Known { user, tenant })) => {
            request.extensions_mut().insert(livy::Caller {
                user,
                tenant,
                ..livy::Caller::default()
            });
        }
    }
    next.run(request).await
}

/// For the native API: it shows and changes everybody's sessions.
pub(super) async fn operator(request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<Identity>();
    if identity.is_some_and(|identity| !identity.operator) {
        let text = "this token is not an operator's: add 'operator' to its line in the token file";
        return Status::permission_denied(text).into_http();
    }
    next.run(request).await
}
