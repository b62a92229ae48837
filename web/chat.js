placeholder: the page
