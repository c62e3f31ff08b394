"""httpbin's endpoints, grouped much as its own documentation groups them."""

READ = ["GET", "HEAD"]
ANY = [*READ, "POST", "PUT", "DELETE", "PATCH", "TRACE"]
